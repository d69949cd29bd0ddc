/* SPDX-License-Identifier: MIT */
/*
 * flow.h - verified connections: what clients (net.c) and servers (server.c) agree on.
 *
 * A connection begins with a hello. Then both sides send a stream of bytes, which hello, direction and place
 * determine, at the same time. When the server has sent its own and received the client's it
 * sends a receipt, and the client knows that both went through whole.
 */
#ifndef TEST_SOAK_FLOW_H
#define TEST_SOAK_FLOW_H

#include "soak.h"

struct soak_hello {
    uint64_t seed;
    uint64_t flags;
};

#define SOAK_HELLO_HALF 1u /* the client shuts its direction down at its end */
#define SOAK_HELLO_MUTE 2u /* no streams: only a receipt */
/* Buffers smaller than a segment: the kernel sends through them by its persist timer, some 10 KB a second. */
#define SOAK_HELLO_SMALL 4u

struct soak_receipt {
    uint64_t seed;
    uint64_t received;
};

/* One direction of one side. */
struct soak_flow {
    weft_stream *s;
    struct soak_hello hello;
    uint64_t rand;
    uint64_t moved, until; /* stop at until */
    unsigned way;          /* 0: to the server */
    bool slow;             /* reads little, with pauses */
};

uint64_t soak_flow_length(const struct soak_hello *h, unsigned way);

/* Tasks. 0: moved up to until, or, receiving, the stream has ended. Else the error. arg: the flow, borrowed. */
int soak_flow_send(void *arg);
int soak_flow_receive(void *arg);

/* What a peer may do to us in the middle of anything; 0 too. */
bool soak_is_rough(ssize_t rc);

/* A stream's count in the ledger. */
void soak_stream_opened(weft_stream *s);
void soak_stream_close(weft_stream *s);

/* Room for one more connection of two descriptors? */
bool soak_net_has_room(void);

/* A server of the stage that is open; NULL: none. */
const struct soak_server *soak_net_server(struct soak_actor *a);

#endif
