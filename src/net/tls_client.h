/* TLS of a client, by OpenSSL, which is loaded at the first use: a node that speaks to no https
 * server never has it. Certificates are verified against the system's store and the name of the
 * host; SSL_CERT_FILE and SSL_CERT_DIR name another store, as for other programs. */
#ifndef MK_NET_TLS_CLIENT_H
#define MK_NET_TLS_CLIENT_H

#include "base/err.h"

struct bufferevent;
struct event_base;
struct tls_client;

/* Errors: IO, the libraries or the certificates are not there; why names them. */
enum err tls_client_new(struct tls_client **out, struct why *why);
/* After its streams. Accepts NULL. */
void tls_client_free(struct tls_client *t);
/* A stream that is yet to be connected. *trouble is set when the certificate is refused; it stays
 * where it is as long as the stream. NULL: OpenSSL refuses the name. */
struct bufferevent *tls_client_stream(struct tls_client *t, struct event_base *base,
                                      const char *host, long *trouble);
/* What was wrong with the certificate; NULL: nothing. */
const char *tls_client_trouble(long trouble);

#endif
