/* People mistake ports. What a stranger says first gives away what it speaks: so the log can say
 * it, and the stranger can be told, in its own language, where it has come to. */
#ifndef MK_NET_WRONG_PORT_H
#define MK_NET_WRONG_PORT_H

#include "base/bytes.h"

/* A clause for the log, "it may speak HTTP, which has a port of its own". expected: for what is
 * none of the languages known here. Four bytes are enough. */
const char *wrong_port_guess(struct bytes first, const char *expected);

/* Tell who speaks HTTP or MessagePack-RPC which port this is, as far as fd takes it at once; others
 * are told nothing. The caller closes fd. sentence: "this is ...". */
void wrong_port_tell(int fd, struct bytes first, const char *sentence);

/* The method of the MessagePack-RPC notification in which it is told: [2, method, [sentence]]. */
#define WRONG_PORT_METHOD "wrong_port"

#endif
