/* SPDX-License-Identifier: MIT */
/*
 * weft.h - everything weft offers, in reading order.
 *
 * Each part can be included on its own; this page only names them. All are valid
 * C11 and C++17.
 */
#ifndef WEFT_H
#define WEFT_H

#include <weft/base.h>

#include <weft/barrier.h>
#include <weft/blocking.h>
#include <weft/broadcast.h>
#include <weft/cancel.h>
#include <weft/channel.h>
#include <weft/condvar.h>
#include <weft/delay_queue.h>
#include <weft/errno.h>
#include <weft/future.h>
#include <weft/futures.h>
#include <weft/join_map.h>
#include <weft/join_set.h>
#include <weft/local_set.h>
#include <weft/metrics.h>
#include <weft/mpsc.h>
#include <weft/mutex.h>
#include <weft/net.h>
#include <weft/notify.h>
#include <weft/once.h>
#include <weft/oneshot.h>
#include <weft/runtime.h>
#include <weft/rwlock.h>
#include <weft/scope.h>
#include <weft/semaphore.h>
#include <weft/stream.h>
#include <weft/task.h>
#include <weft/task_tracker.h>
#include <weft/time.h>
#include <weft/typed.h>
#include <weft/watch.h>

#endif
