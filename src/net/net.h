/* SPDX-License-Identifier: MIT */
/* net.h - what listening and connecting share. */
#ifndef WF_NET_NET_H
#define WF_NET_NET_H

#include "base/compiler.h"

#include <weft/net.h>

/* "tcp://127.0.0.1:80" or without the scheme. 0, -EINVAL, or -ENOTSUP for another scheme. */
int wf_net_parse_url(weft_addr *a, const char *text);

/* May these be in a struct of options? Sizes of buffers; a switch; what is spare. */
bool wf_net_buffers_valid(int receive, int send);
bool wf_net_switch_valid(weft_switch value);
bool wf_net_spare_valid(const uintptr_t *words, size_t count);

/* Set an option, if wanted. 0 or a negative errno. */
int wf_net_set_int(int fd, int level, int name, int value, bool wanted);

#endif
