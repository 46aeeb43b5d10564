/* Where to dial some peers, instead of at the addresses that the cluster knows them by: for tests
 * that put something between two nodes. The membership and the cluster's id know nothing of it. */
#ifndef MK_NET_DIAL_MAP_H
#define MK_NET_DIAL_MAP_H

#include <stdint.h>

#include "base/err.h"
#include "net/address.h"
#include "raft/raft.h"
#include "wire/handshake.h"

/* Zeroed: every peer is where the cluster says. */
struct dial_map {
    uint32_t count;
    struct {
        char name[HANDSHAKE_NAME_MAX + 1];
        char address[ADDRESS_TEXT_MAX];
    } at[RAFT_MEMBERS_MAX];
};

/* "n2=127.0.0.1:7200,n3=127.0.0.1:7201". Errors: INVALID. */
enum err dial_map_parse(const char *text, struct dial_map *out, struct why *why);
/* Where to dial the peer of that name, whom the cluster knows at address. m may be NULL. */
const char *dial_map_address(const struct dial_map *m, const char *name, const char *address);

#endif
