/* The HTTP requests of the scripts of one simulated process (port/http.h), to the servers of the
 * scenario (http_servers.h).
 *
 * A request takes time: to connect, until it is received, until its answer is there. A process that
 * dies before it is connected has not sent it; what has left is received, whoever is dead by then;
 * an answer finds whoever still lives. While the process is paused nothing of it goes on: it does
 * not send, and takes the answer afterwards. Servers are outside of the cluster: partitions between
 * its nodes do not concern them (http_server_rule.refuses does). */
#ifndef MK_SIM_SIM_HTTP_H
#define MK_SIM_SIM_HTTP_H

#include <stdint.h>

#include "port/http.h"

struct script_host;
struct sim_http;
struct sim_process;

/* Of the process's present incarnation. */
struct sim_http *sim_http_new(struct sim_process *p, uint64_t seed);
/* Whom it answers. Before the first call. */
void sim_http_answer_to(struct sim_http *http, struct script_host *host);
const struct http_port *sim_http_port(const struct sim_http *http);
/* The process goes on after a pause. */
void sim_http_resume(struct sim_http *http);
void sim_http_free(struct sim_http *http);

/* The world ends: what its host has sent and nobody received. */
void sim_http_drop_flights(struct sim_process *p);

#endif
