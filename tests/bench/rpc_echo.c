/* What the RPC server costs without a node behind it: an echo server on its thread, one client that
 * pipelines on another. Reports requests per second and the server thread's CPU time per request.
 *
 *     bench_rpc_echo [SECONDS [PIPELINED [CONNECTIONS]]] */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "net/rpc_client.h"
#include "net/rpc_server.h"

enum { VALUE_BYTES = 256, TIMEOUT_US = 5000000 };

static void on_request(void *ctx, struct rpc_call *call, struct bytes method, struct bytes params)
{
    (void)ctx, (void)method, (void)params;
    rpc_reply(call, bytes_of("\xcd\x12\x34", 3));
}

struct serving {
    struct loop *loop;
    double cpu_seconds;
};

static double seconds_on(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *serve(void *arg)
{
    struct serving *s = arg;
    loop_run(s->loop);
    s->cpu_seconds = seconds_on(CLOCK_THREAD_CPUTIME_ID);
    return NULL;
}

static void must(enum err e, const struct why *why)
{
    if (e != ERR_OK) {
        fprintf(stderr, "rpc_echo: %s: %s\n", err_name(e), why->text);
        exit(1);
    }
}

/* Send a batch on every connection, then take all answers. */
static void round_trip(struct rpc_client **clients, int connections, int pipelined,
                       struct bytes params)
{
    struct why why = {0};
    struct rpc_message m;
    for (int c = 0; c < connections; c++) {
        for (int i = 0; i < pipelined; i++) {
            rpc_client_queue(clients[c], "propose", params);
        }
        must(rpc_client_flush(clients[c], TIMEOUT_US, &why), &why);
    }
    for (int c = 0; c < connections; c++) {
        for (int i = 0; i < pipelined; i++) {
            must(rpc_client_receive(clients[c], TIMEOUT_US, &m, &why), &why);
        }
    }
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 3;
    int pipelined = argc > 2 ? atoi(argv[2]) : 100;
    int connections = argc > 3 ? atoi(argv[3]) : 1;
    struct serving s = {.loop = loop_new()};
    const struct rpc_server_options options = {.listen = {.host = "127.0.0.1"}};
    const struct rpc_server_callbacks callbacks = {.on_request = on_request};
    struct rpc_server *server;
    struct why why = {0};
    must(rpc_server_open(s.loop, &options, &callbacks, NULL, &server, &why), &why);
    pthread_t thread;
    pthread_create(&thread, NULL, serve, &s);

    struct rpc_client **clients = alloc_zeroed((size_t)connections, sizeof(struct rpc_client *));
    for (int c = 0; c < connections; c++) {
        must(rpc_client_open(rpc_server_address(server), TIMEOUT_US, &clients[c], &why), &why);
    }
    static const uint8_t value[VALUE_BYTES];
    struct buffer params = {0};
    buffer_add(&params, "\x91\xc5\x01\x00", 4);
    buffer_add(&params, value, sizeof value);

    double start = seconds_on(CLOCK_MONOTONIC), took;
    do {
        round_trip(clients, connections, pipelined, buffer_bytes(&params));
        took = seconds_on(CLOCK_MONOTONIC) - start;
    } while (took < seconds);

    loop_stop(s.loop);
    pthread_join(thread, NULL);
    double requests = (double)rpc_server_requests_total(server);
    printf("%.0f requests/s, %d connections, %d pipelined; server thread %.2f us/request, "
           "%.0f%% of a core\n",
           requests / took, connections, pipelined, s.cpu_seconds * 1e6 / requests,
           100 * s.cpu_seconds / took);
    for (int c = 0; c < connections; c++) {
        rpc_client_close(clients[c]);
    }
    free(clients);
    buffer_close(&params);
    rpc_server_close(server);
    loop_free(s.loop);
    return 0;
}
