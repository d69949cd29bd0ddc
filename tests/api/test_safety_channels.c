/* SPDX-License-Identifier: MIT */
/*
 * test_safety_channels.c - whoever gives up a send loses no value and no room, and whoever gives up a receive loses no
 * value: safety.h has the ways.
 */
#include "support.h"

#include <stdatomic.h>

#define ROOM  6
#define SLOTS 16 /* more than futures are made for one bed */

struct safety_bed {
    int value, got;
    weft_sender *tx;
    weft_receiver *rx;
    weft_permit permits[SLOTS];
    atomic_uint permit_count;
    weft_oneshot_sender *oneshot_tx;
    weft_oneshot_receiver *oneshot_rx;
    weft_broadcast_sender *broadcast_tx;
    weft_broadcast_receiver *broadcast_rx;
    weft_watch_sender *watch_tx;
    weft_watch_receiver *watch_rx;
    weft_watch_condition condition;
};

#include "safety.h"

static void took_seven(struct bed *b)
{
    CHECK_EQ(7, b->on.got);
    b->on.got = 0;
}

/* --- mpsc: to receive ---------------------------------------------------------------------- */

static void empty_queue(struct bed *b)
{
    b->on.value = 7;
    CHECK_EQ(0, weft_mpsc_new(&b->on.tx, &b->on.rx, sizeof(int), ROOM));
}

static void give_value(struct bed *b)
{
    CHECK_EQ(0, weft_try_send(b->on.tx, &b->on.value));
}

static void values_are_left(struct bed *b)
{
    for (unsigned i = left_over(b); i > 0; i--) {
        CHECK_EQ(1, weft_try_recv(b->on.rx, &b->on.got));
        took_seven(b);
    }
    CHECK_EQ(-EAGAIN, weft_try_recv(b->on.rx, &b->on.got));
    CHECK_EQ(ROOM, weft_sender_capacity(b->on.tx));
    weft_sender_close(b->on.tx);
    weft_receiver_close(b->on.rx);
}

static int recv_wait(void *bed)
{
    struct bed *b = bed;

    return weft_recv(b->on.rx, &b->on.got);
}

static weft_future recv_future(void *bed)
{
    struct bed *b = bed;

    return weft_recv_future(b->on.rx, &b->on.got);
}

static int recv_many_wait(void *bed)
{
    struct bed *b = bed;

    return (int)weft_recv_many(b->on.rx, &b->on.got, 1);
}

static weft_future recv_many_future(void *bed)
{
    struct bed *b = bed;

    return weft_recv_many_future(b->on.rx, &b->on.got, 1);
}

static const struct row recv_row = {.set_up = empty_queue,
                                    .wait = recv_wait,
                                    .future = recv_future,
                                    .give = give_value,
                                    .took = took_seven,
                                    .tear_down = values_are_left,
                                    .good = 1,
                                    .traits = PROMPT};
static const struct row recv_many_row = {.set_up = empty_queue,
                                         .wait = recv_many_wait,
                                         .future = recv_many_future,
                                         .give = give_value,
                                         .took = took_seven,
                                         .tear_down = values_are_left,
                                         .good = 1,
                                         .traits = PROMPT};

SAFETY(recv, a_receive_that_is_given_up_takes_nothing)
SAFETY(recv_many, a_receive_of_many_that_is_given_up_takes_nothing)

/* --- mpsc: to send --------------------------------------------------------------------------- */

static void full_queue(struct bed *b)
{
    empty_queue(b);
    for (int i = 0; i < ROOM; i++)
        give_value(b);
}

static void give_room(struct bed *b)
{
    CHECK_EQ(1, weft_try_recv(b->on.rx, &b->on.got));
    took_seven(b);
}

static void give_room_for_two(struct bed *b)
{
    give_room(b);
    give_room(b);
}

/* Each that succeeded has sent one. */
static void room_is_left(struct bed *b)
{
    unsigned room = left_over(b);

    CHECK_EQ(room, weft_sender_capacity(b->on.tx));
    CHECK_EQ(ROOM - room, weft_receiver_len(b->on.rx));
    while (weft_try_recv(b->on.rx, &b->on.got) == 1)
        took_seven(b);
    weft_sender_close(b->on.tx);
    weft_receiver_close(b->on.rx);
}

static int send_wait(void *bed)
{
    struct bed *b = bed;

    return weft_send(b->on.tx, &b->on.value);
}

static weft_future send_future(void *bed)
{
    struct bed *b = bed;

    return weft_send_future(b->on.tx, &b->on.value);
}

static const struct row send_row = {.set_up = full_queue,
                                    .wait = send_wait,
                                    .future = send_future,
                                    .give = give_room,
                                    .tear_down = room_is_left,
                                    .traits = PROMPT | LINE | EACH};

SAFETY(send, a_send_that_is_given_up_sends_nothing)

/* Who succeeded has a permit. */
static void room_is_left_or_reserved(struct bed *b, unsigned each)
{
    unsigned owners = 0, permits = 0;

    CHECK_EQ(each * left_over(b), weft_sender_capacity(b->on.tx));
    for (unsigned i = 0; i < SLOTS; i++) {
        permits += (unsigned)weft_permit_count(&b->on.permits[i]);
        owners += b->on.permits[i].owned_;
        weft_permit_release(&b->on.permits[i]);
    }
    CHECK_EQ(each * atomic_load(&b->taken), permits);
    CHECK(owners == 0 || owners == permits);
    CHECK_EQ(each * b->given, weft_sender_capacity(b->on.tx));
    CHECK_EQ(1, weft_sender_strong_count(b->on.tx));
    weft_sender_close(b->on.tx);
    weft_receiver_close(b->on.rx);
}

static void one_is_left_or_reserved(struct bed *b)
{
    room_is_left_or_reserved(b, 1);
}

static void two_are_left_or_reserved(struct bed *b)
{
    room_is_left_or_reserved(b, 2);
}

static weft_permit *a_permit(struct bed *b)
{
    unsigned i = atomic_fetch_add(&b->on.permit_count, 1);

    CHECK(i < SLOTS);
    return &b->on.permits[i];
}

static int reserve_wait(void *bed)
{
    struct bed *b = bed;

    return weft_reserve(b->on.tx, a_permit(b));
}

static weft_future reserve_future(void *bed)
{
    struct bed *b = bed;

    return weft_reserve_future(b->on.tx, a_permit(b));
}

static int reserve_many_wait(void *bed)
{
    struct bed *b = bed;

    return weft_reserve_many(b->on.tx, 2, a_permit(b));
}

static weft_future reserve_many_future(void *bed)
{
    struct bed *b = bed;

    return weft_reserve_many_future(b->on.tx, 2, a_permit(b));
}

static int reserve_owned_wait(void *bed)
{
    struct bed *b = bed;

    return weft_reserve_owned(b->on.tx, a_permit(b));
}

static weft_future reserve_owned_future(void *bed)
{
    struct bed *b = bed;

    return weft_reserve_owned_future(b->on.tx, a_permit(b));
}

static const struct row reserve_row = {.set_up = full_queue,
                                       .wait = reserve_wait,
                                       .future = reserve_future,
                                       .give = give_room,
                                       .tear_down = one_is_left_or_reserved,
                                       .traits = PROMPT | LINE | EACH};
static const struct row reserve_many_row = {.set_up = full_queue,
                                            .wait = reserve_many_wait,
                                            .future = reserve_many_future,
                                            .give = give_room_for_two,
                                            .tear_down = two_are_left_or_reserved,
                                            .traits = PROMPT | LINE | EACH};
static const struct row reserve_owned_row = {.set_up = full_queue,
                                             .wait = reserve_owned_wait,
                                             .future = reserve_owned_future,
                                             .give = give_room,
                                             .tear_down = one_is_left_or_reserved,
                                             .traits = PROMPT | LINE | EACH};

SAFETY(reserve, a_reservation_that_is_given_up_keeps_no_room)
SAFETY(reserve_many, a_reservation_of_many_that_is_given_up_keeps_no_room)
SAFETY(reserve_owned, a_reservation_that_is_given_up_keeps_no_sender)

/* --- the ends of channels ----------------------------------------------------------------------- */

static void give_shutdown(struct bed *b)
{
    weft_receiver_shutdown(b->on.rx);
}

static void queue_gone(struct bed *b)
{
    weft_sender_close(b->on.tx);
    weft_receiver_close(b->on.rx);
}

static int closed_wait(void *bed)
{
    return weft_sender_closed(((struct bed *)bed)->on.tx);
}

static weft_future closed_future(void *bed)
{
    return weft_sender_closed_future(((struct bed *)bed)->on.tx);
}

static void open_oneshot(struct bed *b)
{
    b->on.value = 7;
    CHECK_EQ(0, weft_oneshot_new(&b->on.oneshot_tx, &b->on.oneshot_rx, sizeof(int)));
}

static void give_oneshot_end(struct bed *b)
{
    weft_oneshot_receiver_close(b->on.oneshot_rx);
    b->on.oneshot_rx = NULL;
}

static void oneshot_gone(struct bed *b)
{
    weft_oneshot_sender_close(b->on.oneshot_tx);
    weft_oneshot_receiver_close(b->on.oneshot_rx);
}

static int oneshot_closed_wait(void *bed)
{
    return weft_oneshot_sender_closed(((struct bed *)bed)->on.oneshot_tx);
}

static weft_future oneshot_closed_future(void *bed)
{
    return weft_oneshot_sender_closed_future(((struct bed *)bed)->on.oneshot_tx);
}

static void open_broadcast(struct bed *b)
{
    b->on.value = 7;
    CHECK_EQ(0, weft_broadcast_new(&b->on.broadcast_tx, &b->on.broadcast_rx, sizeof(int), ROOM));
}

static void give_broadcast_end(struct bed *b)
{
    weft_broadcast_receiver_close(b->on.broadcast_rx);
    b->on.broadcast_rx = NULL;
}

static void broadcast_gone(struct bed *b)
{
    weft_broadcast_sender_close(b->on.broadcast_tx);
    weft_broadcast_receiver_close(b->on.broadcast_rx);
}

static int broadcast_closed_wait(void *bed)
{
    return weft_broadcast_closed(((struct bed *)bed)->on.broadcast_tx);
}

static weft_future broadcast_closed_future(void *bed)
{
    return weft_broadcast_closed_future(((struct bed *)bed)->on.broadcast_tx);
}

static void open_watch(struct bed *b)
{
    int first = 1;

    b->on.value = 7;
    CHECK_EQ(0, weft_watch_new(&b->on.watch_tx, &b->on.watch_rx, sizeof(int), &first));
}

static void give_watch_end(struct bed *b)
{
    weft_watch_receiver_close(b->on.watch_rx);
    b->on.watch_rx = NULL;
}

static void watch_gone(struct bed *b)
{
    weft_watch_sender_close(b->on.watch_tx);
    weft_watch_receiver_close(b->on.watch_rx);
}

static int watch_closed_wait(void *bed)
{
    return weft_watch_closed(((struct bed *)bed)->on.watch_tx);
}

static weft_future watch_closed_future(void *bed)
{
    return weft_watch_closed_future(((struct bed *)bed)->on.watch_tx);
}

static const struct row closed_row = {.set_up = empty_queue,
                                      .wait = closed_wait,
                                      .future = closed_future,
                                      .give = give_shutdown,
                                      .tear_down = queue_gone,
                                      .traits = PROMPT | LINE};
static const struct row oneshot_closed_row = {.set_up = open_oneshot,
                                              .wait = oneshot_closed_wait,
                                              .future = oneshot_closed_future,
                                              .give = give_oneshot_end,
                                              .tear_down = oneshot_gone,
                                              .traits = PROMPT};
static const struct row broadcast_closed_row = {.set_up = open_broadcast,
                                                .wait = broadcast_closed_wait,
                                                .future = broadcast_closed_future,
                                                .give = give_broadcast_end,
                                                .tear_down = broadcast_gone,
                                                .traits = PROMPT | LINE};
static const struct row watch_closed_row = {.set_up = open_watch,
                                            .wait = watch_closed_wait,
                                            .future = watch_closed_future,
                                            .give = give_watch_end,
                                            .tear_down = watch_gone,
                                            .traits = PROMPT | LINE};

SAFETY(closed, a_wait_for_the_end_of_a_queue_can_be_given_up)
SAFETY(oneshot_closed, a_wait_for_the_end_of_a_oneshot_can_be_given_up)
SAFETY(broadcast_closed, a_wait_for_the_end_of_a_broadcast_can_be_given_up)
SAFETY(watch_closed, a_wait_for_the_end_of_a_watch_can_be_given_up)

/* --- oneshot, broadcast, watch: to receive --------------------------------------------------------- */

static void give_answer(struct bed *b)
{
    CHECK_EQ(0, weft_oneshot_send(b->on.oneshot_tx, &b->on.value));
    b->on.oneshot_tx = NULL;
}

static void answer_is_left(struct bed *b)
{
    if (left_over(b)) {
        CHECK_EQ(1, weft_oneshot_try_recv(b->on.oneshot_rx, &b->on.got));
        took_seven(b);
    }
    CHECK_EQ(b->given ? 0 : -EAGAIN, weft_oneshot_try_recv(b->on.oneshot_rx, &b->on.got));
    oneshot_gone(b);
}

static int oneshot_wait(void *bed)
{
    struct bed *b = bed;

    return weft_oneshot_recv(b->on.oneshot_rx, &b->on.got);
}

static weft_future oneshot_future(void *bed)
{
    struct bed *b = bed;

    return weft_oneshot_recv_future(b->on.oneshot_rx, &b->on.got);
}

static void give_news(struct bed *b)
{
    CHECK_EQ(1, weft_broadcast_send(b->on.broadcast_tx, &b->on.value));
}

static void news_are_left(struct bed *b)
{
    for (unsigned i = left_over(b); i > 0; i--) {
        CHECK_EQ(1, weft_broadcast_try_recv(b->on.broadcast_rx, &b->on.got));
        took_seven(b);
    }
    CHECK_EQ(-EAGAIN, weft_broadcast_try_recv(b->on.broadcast_rx, &b->on.got));
    broadcast_gone(b);
}

static int broadcast_wait(void *bed)
{
    struct bed *b = bed;

    return weft_broadcast_recv(b->on.broadcast_rx, &b->on.got);
}

static weft_future broadcast_future(void *bed)
{
    struct bed *b = bed;

    return weft_broadcast_recv_future(b->on.broadcast_rx, &b->on.got);
}

static void give_version(struct bed *b)
{
    CHECK_EQ(0, weft_watch_send(b->on.watch_tx, &b->on.value));
}

static void took_version(struct bed *b)
{
    CHECK_EQ(0, weft_watch_get(b->on.watch_rx, &b->on.got));
    took_seven(b);
}

static void version_is_left(struct bed *b)
{
    CHECK_EQ(left_over(b) ? 1 : 0, weft_watch_has_changed(b->on.watch_rx));
    watch_gone(b);
}

static int watch_wait(void *bed)
{
    return weft_watch_changed(((struct bed *)bed)->on.watch_rx);
}

static weft_future watch_future(void *bed)
{
    return weft_watch_changed_future(((struct bed *)bed)->on.watch_rx);
}

static bool is_seven(const void *value, void *arg)
{
    (void)arg;
    return *(const int *)value == 7;
}

static int watch_for_wait(void *bed)
{
    struct bed *b = bed;

    return weft_watch_wait_for(b->on.watch_rx, is_seven, NULL, &b->on.got);
}

static weft_future watch_for_future(void *bed)
{
    struct bed *b = bed;

    b->on.condition = (weft_watch_condition){is_seven, NULL, &b->on.got};
    return weft_watch_wait_for_future(b->on.watch_rx, &b->on.condition);
}

static const struct row oneshot_row = {.set_up = open_oneshot,
                                       .wait = oneshot_wait,
                                       .future = oneshot_future,
                                       .give = give_answer,
                                       .took = took_seven,
                                       .tear_down = answer_is_left,
                                       .good = 1,
                                       .traits = PROMPT};
static const struct row broadcast_row = {.set_up = open_broadcast,
                                         .wait = broadcast_wait,
                                         .future = broadcast_future,
                                         .give = give_news,
                                         .took = took_seven,
                                         .tear_down = news_are_left,
                                         .good = 1,
                                         .traits = PROMPT};
static const struct row watch_row = {.set_up = open_watch,
                                     .wait = watch_wait,
                                     .future = watch_future,
                                     .give = give_version,
                                     .took = took_version,
                                     .tear_down = version_is_left,
                                     .good = 1,
                                     .traits = PROMPT};
static const struct row watch_for_row = {.set_up = open_watch,
                                         .wait = watch_for_wait,
                                         .future = watch_for_future,
                                         .give = give_version,
                                         .took = took_seven,
                                         .tear_down = watch_gone,
                                         .good = 1,
                                         .traits = PROMPT};

SAFETY(oneshot, a_wait_for_an_answer_that_is_given_up_leaves_it)
SAFETY(broadcast, a_receive_from_a_broadcast_that_is_given_up_misses_nothing)
SAFETY(watch, a_change_that_nobody_was_told_of_is_still_one)
SAFETY(watch_for, a_wait_for_a_certain_value_can_be_given_up)

TEST_MAIN("safety_channels", a_receive_that_is_given_up_takes_nothing,
          a_receive_of_many_that_is_given_up_takes_nothing, a_send_that_is_given_up_sends_nothing,
          a_reservation_that_is_given_up_keeps_no_room,
          a_reservation_of_many_that_is_given_up_keeps_no_room,
          a_reservation_that_is_given_up_keeps_no_sender,
          a_wait_for_the_end_of_a_queue_can_be_given_up,
          a_wait_for_the_end_of_a_oneshot_can_be_given_up,
          a_wait_for_the_end_of_a_broadcast_can_be_given_up,
          a_wait_for_the_end_of_a_watch_can_be_given_up,
          a_wait_for_an_answer_that_is_given_up_leaves_it,
          a_receive_from_a_broadcast_that_is_given_up_misses_nothing,
          a_change_that_nobody_was_told_of_is_still_one, a_wait_for_a_certain_value_can_be_given_up)
