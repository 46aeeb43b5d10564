/* What people see of a node. Private to this folder. */
#ifndef MK_NODE_STATUS_H
#define MK_NODE_STATUS_H

#include "base/bytes.h"

struct node;

void status_members(struct node *n, struct buffer *out);
/* Where clients reach the leader; NULL if that is not known. */
const char *status_leader_client_address(struct node *n);

#endif
