#include "net/tls_client.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/alloc.h"

/* What is called of the libraries, by the types of their headers; none of it is linked. */
#define TLS_FUNCTIONS(X)                  \
    X(TLS_client_method)                  \
    X(SSL_CTX_new)                        \
    X(SSL_CTX_free)                       \
    X(SSL_CTX_ctrl)                       \
    X(SSL_CTX_set_default_verify_paths)   \
    X(SSL_CTX_set_verify)                 \
    X(SSL_new)                            \
    X(SSL_free)                           \
    X(SSL_ctrl)                           \
    X(SSL_set1_host)                      \
    X(SSL_get0_param)                     \
    X(SSL_get_ex_data)                    \
    X(SSL_set_ex_data)                    \
    X(SSL_get_ex_data_X509_STORE_CTX_idx) \
    X(X509_STORE_CTX_get_ex_data)         \
    X(X509_STORE_CTX_get_error)           \
    X(X509_VERIFY_PARAM_set1_ip_asc)      \
    X(X509_verify_cert_error_string)      \
    X(bufferevent_openssl_socket_new)

/* Once in a process, and never unloaded: OpenSSL cleans up when the process ends. */
static struct {
    pthread_once_t once;
    enum err err;
    struct why why;
    /* NOLINTNEXTLINE(bugprone-macro-parentheses): a member's name */
#define X(name) __typeof__(&(name)) name;
    TLS_FUNCTIONS(X)
#undef X
} lib = {.once = PTHREAD_ONCE_INIT};

struct tls_client {
    SSL_CTX *context;
};

/* libevent's part brings OpenSSL's libraries with it. */
static const char library_name[] = "libevent_openssl-2.1.so.7";

static void *find(void *library, const char *name)
{
    void *found = dlsym(library, name);
    if (found == NULL) {
        lib.err = err_why(&lib.why, ERR_IO, "https: there is no %s in OpenSSL", name);
    }
    return found;
}

static void load(void)
{
    void *library = dlopen(library_name, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        lib.err = err_why(&lib.why, ERR_IO,
                          "https needs libevent's OpenSSL support (in Debian "
                          "libevent-openssl-2.1-7): %s",
                          dlerror());
        return;
    }
#define X(name) *(void **)&lib.name = find(library, #name);
    TLS_FUNCTIONS(X)
#undef X
}

/* What is wrong with a certificate is known here only: evhttp resets a stream that failed before it
 * tells. */
static int on_verified(int fine, X509_STORE_CTX *verification)
{
    SSL *ssl =
        lib.X509_STORE_CTX_get_ex_data(verification, lib.SSL_get_ex_data_X509_STORE_CTX_idx());
    long *trouble = lib.SSL_get_ex_data(ssl, 0);
    if (fine == 0) {
        *trouble = lib.X509_STORE_CTX_get_error(verification);
    }
    return fine;
}

enum err tls_client_new(struct tls_client **out, struct why *why)
{
    pthread_once(&lib.once, load);
    if (lib.err != ERR_OK) {
        return err_why(why, lib.err, "%s", lib.why.text);
    }
    struct tls_client *t = NEW(struct tls_client);
    t->context = lib.SSL_CTX_new(lib.TLS_client_method());
    if (t->context == NULL ||
        lib.SSL_CTX_ctrl(t->context, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, NULL) != 1 ||
        lib.SSL_CTX_set_default_verify_paths(t->context) != 1) {
        tls_client_free(t);
        return err_why(why, ERR_IO,
                       "https: OpenSSL cannot be set up with the certificates of this system");
    }
    lib.SSL_CTX_set_verify(t->context, SSL_VERIFY_PEER, on_verified);
    *out = t;
    return ERR_OK;
}

void tls_client_free(struct tls_client *t)
{
    if (t == NULL) {
        return;
    }
    if (t->context != NULL) {
        lib.SSL_CTX_free(t->context);
    }
    free(t);
}

/* A certificate names hosts, or addresses: they are told apart. */
static bool set_name(SSL *ssl, const char *host)
{
    struct in6_addr number;
    if (inet_pton(AF_INET, host, &number) == 1 || inet_pton(AF_INET6, host, &number) == 1) {
        return lib.X509_VERIFY_PARAM_set1_ip_asc(lib.SSL_get0_param(ssl), host) == 1;
    }
    return lib.SSL_set1_host(ssl, host) == 1 &&
           lib.SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                        (void *)(uintptr_t)host) == 1;
}

struct bufferevent *tls_client_stream(struct tls_client *t, struct event_base *base,
                                      const char *host, long *trouble)
{
    SSL *ssl = lib.SSL_new(t->context);
    *trouble = X509_V_OK;
    if (ssl == NULL || !set_name(ssl, host) || lib.SSL_set_ex_data(ssl, 0, trouble) != 1) {
        lib.SSL_free(ssl);
        return NULL;
    }
    return lib.bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_CONNECTING,
                                              BEV_OPT_CLOSE_ON_FREE);
}

const char *tls_client_trouble(long trouble)
{
    return trouble != X509_V_OK ? lib.X509_verify_cert_error_string(trouble) : NULL;
}
