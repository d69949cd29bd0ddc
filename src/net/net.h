/* SPDX-License-Identifier: MIT */
/* net.h - what listening and connecting share. */
#ifndef WF_NET_NET_H
#define WF_NET_NET_H

#include "base/compiler.h"

#include <weft/net.h>

/* "tcp://127.0.0.1:80" or without the scheme. 0, -EINVAL, or -ENOTSUP for another scheme. */
int wf_net_parse_url(weft_addr *a, const char *text);

/* Set an option, if wanted. 0 or a negative errno. */
int wf_net_set_int(int fd, int level, int name, int value, bool wanted);

#endif
