/* SPDX-License-Identifier: MIT */
/*
 * weft/typed.h - channels whose values have a type, checked by the compiler.
 *
 *     WEFT_CHANNEL(struct job, jobs)
 *
 *     jobs_sender tx;
 *     jobs_receiver rx;
 *     rc = jobs_new(&tx, &rx, 100);
 *     rc = jobs_send(tx, &(struct job){1});
 *
 * The two ends are structs with one member, `raw`: the weft_sender and weft_receiver behind them, which all other calls
 * take. Nothing is behind these functions but the calls of the same names; what they do is said there.
 */
#ifndef WEFT_TYPED_H
#define WEFT_TYPED_H

#include <weft/mpsc.h>
#include <weft/oneshot.h>

/* Nobody needs all of them. */
#if defined(__GNUC__) || defined(__clang__)
# define WEFT_TYPED_ static inline __attribute__((unused))
#else
# define WEFT_TYPED_ static inline
#endif

/* NOLINTBEGIN(bugprone-macro-parentheses): type is that of a declaration */

/* An mpsc channel of values of this type (weft/mpsc.h), at file scope. */
#define WEFT_CHANNEL(type, name)                                                                  \
 typedef struct name##_sender {                                                                   \
  weft_sender *raw;                                                                               \
 } name##_sender;                                                                                 \
 typedef struct name##_receiver {                                                                 \
  weft_receiver *raw;                                                                             \
 } name##_receiver;                                                                               \
 WEFT_TYPED_ WEFT_MUST_CHECK int name##_new(name##_sender *tx, name##_receiver *rx,               \
                                            size_t capacity)                                      \
 {                                                                                                \
  return weft_mpsc_new(&tx->raw, &rx->raw, sizeof(type), capacity);                               \
 }                                                                                                \
 WEFT_TYPED_ WEFT_MUST_CHECK int name##_unbounded(name##_sender *tx, name##_receiver *rx)         \
 {                                                                                                \
  return weft_mpsc_unbounded(&tx->raw, &rx->raw, sizeof(type));                                   \
 }                                                                                                \
 WEFT_TYPED_ WEFT_MUST_CHECK int name##_send(name##_sender tx, type const *value)                 \
 {                                                                                                \
  return weft_send(tx.raw, value);                                                                \
 }                                                                                                \
 WEFT_TYPED_ WEFT_MUST_CHECK int name##_try_send(name##_sender tx, type const *value)             \
 {                                                                                                \
  return weft_try_send(tx.raw, value);                                                            \
 }                                                                                                \
 WEFT_TYPED_ WEFT_MUST_CHECK int name##_send_blocking(name##_sender tx, type const *value)        \
 {                                                                                                \
  return weft_send_blocking(tx.raw, value);                                                       \
 }                                                                                                \
 WEFT_TYPED_ weft_future name##_send_future(name##_sender tx, type const *value)                  \
 {                                                                                                \
  return weft_send_future(tx.raw, value);                                                         \
 }                                                                                                \
 WEFT_TYPED_ int name##_permit_send(weft_permit *p, type const *value)                            \
 {                                                                                                \
  return weft_permit_send(p, value);                                                              \
 }                                                                                                \
 WEFT_TYPED_ WEFT_MUST_CHECK int name##_recv(name##_receiver rx, type *value)                     \
 {                                                                                                \
  return weft_recv(rx.raw, value);                                                                \
 }                                                                                                \
 WEFT_TYPED_ WEFT_MUST_CHECK int name##_try_recv(name##_receiver rx, type *value)                 \
 {                                                                                                \
  return weft_try_recv(rx.raw, value);                                                            \
 }                                                                                                \
 WEFT_TYPED_ WEFT_MUST_CHECK int name##_recv_blocking(name##_receiver rx, type *value)            \
 {                                                                                                \
  return weft_recv_blocking(rx.raw, value);                                                       \
 }                                                                                                \
 WEFT_TYPED_ weft_future name##_recv_future(name##_receiver rx, type *value)                      \
 {                                                                                                \
  return weft_recv_future(rx.raw, value);                                                         \
 }                                                                                                \
 WEFT_TYPED_ WEFT_MUST_CHECK ssize_t name##_recv_many(name##_receiver rx, type *values, size_t n) \
 {                                                                                                \
  return weft_recv_many(rx.raw, values, n);                                                       \
 }                                                                                                \
 WEFT_TYPED_ void name##_sender_close(name##_sender tx)                                           \
 {                                                                                                \
  weft_sender_close(tx.raw);                                                                      \
 }                                                                                                \
 WEFT_TYPED_ void name##_receiver_close(name##_receiver rx)                                       \
 {                                                                                                \
  weft_receiver_close(rx.raw);                                                                    \
 }

/* A channel for one value of this type (weft/oneshot.h), at file scope. */
#define WEFT_ONESHOT(type, name)                                                       \
 typedef struct name##_sender {                                                        \
  weft_oneshot_sender *raw;                                                            \
 } name##_sender;                                                                      \
 typedef struct name##_receiver {                                                      \
  weft_oneshot_receiver *raw;                                                          \
 } name##_receiver;                                                                    \
 WEFT_TYPED_ WEFT_MUST_CHECK int name##_new(name##_sender *tx, name##_receiver *rx)    \
 {                                                                                     \
  return weft_oneshot_new(&tx->raw, &rx->raw, sizeof(type));                           \
 }                                                                                     \
 WEFT_TYPED_ int name##_send(name##_sender tx, type const *value)                      \
 {                                                                                     \
  return weft_oneshot_send(tx.raw, value);                                             \
 }                                                                                     \
 WEFT_TYPED_ WEFT_MUST_CHECK int name##_recv(name##_receiver rx, type *value)          \
 {                                                                                     \
  return weft_oneshot_recv(rx.raw, value);                                             \
 }                                                                                     \
 WEFT_TYPED_ WEFT_MUST_CHECK int name##_try_recv(name##_receiver rx, type *value)      \
 {                                                                                     \
  return weft_oneshot_try_recv(rx.raw, value);                                         \
 }                                                                                     \
 WEFT_TYPED_ WEFT_MUST_CHECK int name##_recv_blocking(name##_receiver rx, type *value) \
 {                                                                                     \
  return weft_oneshot_recv_blocking(rx.raw, value);                                    \
 }                                                                                     \
 WEFT_TYPED_ weft_future name##_recv_future(name##_receiver rx, type *value)           \
 {                                                                                     \
  return weft_oneshot_recv_future(rx.raw, value);                                      \
 }                                                                                     \
 WEFT_TYPED_ void name##_sender_close(name##_sender tx)                                \
 {                                                                                     \
  weft_oneshot_sender_close(tx.raw);                                                   \
 }                                                                                     \
 WEFT_TYPED_ void name##_receiver_close(name##_receiver rx)                            \
 {                                                                                     \
  weft_oneshot_receiver_close(rx.raw);                                                 \
 }

/* NOLINTEND(bugprone-macro-parentheses) */

#endif
