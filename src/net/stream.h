/* SPDX-License-Identifier: MIT */
/*
 * stream.h - streams from inside: a stream is the registration of its descriptor.
 */
#ifndef WF_NET_STREAM_H
#define WF_NET_STREAM_H

#include "io/registration.h"

#include <weft/stream.h>

struct weft_stream {
    struct wf_io io;
};

WF_INLINE struct weft_stream *wf_stream_of_io(struct wf_io *io)
{
    return wf_container_of(io, struct weft_stream, io);
}

/* A stream that owns fd, which is non-blocking; NULL when memory is out, and fd is the caller's. */
struct weft_stream *wf_stream_new(int fd, bool is_tcp);

#endif
