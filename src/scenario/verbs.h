/* The verbs of a test: each request of lua/moonkeeper/test/ is a function here, which answers it
 * exactly once, at once or later. The comment at each says what its parameters are. Private to the
 * driver. */
#ifndef MK_SCENARIO_VERBS_H
#define MK_SCENARIO_VERBS_H

#include "scenario/ask.h"

/* ---- verbs_test.c ---- */

void verb_loaded(struct ask *a);
void verb_ended(struct ask *a);

/* ---- verbs_cluster.c ---- */

void verb_open(struct ask *a);
void verb_close(struct ask *a);

/* ---- verbs_faults.c ---- */

void verb_start(struct ask *a);
void verb_stop(struct ask *a);
void verb_crash(struct ask *a);
void verb_pause(struct ask *a);
void verb_wipe(struct ask *a);
void verb_reload(struct ask *a);
void verb_alive(struct ask *a);
void verb_message_types(struct ask *a);
void verb_cut(struct ask *a);
void verb_heal(struct ask *a);
void verb_delay(struct ask *a);
void verb_drop(struct ask *a);
void verb_rpcs(struct ask *a);
void verb_skew(struct ask *a);
void verb_set_wall(struct ask *a);
void verb_disk(struct ask *a);

/* ---- verbs_programs.c ---- */

void verb_program(struct ask *a);
void verb_programs(struct ask *a);

/* ---- verbs_http.c ---- */

void verb_http_server(struct ask *a);
void verb_http_requests(struct ask *a);
void verb_http(struct ask *a);

/* ---- verbs_nodes.c ---- */

void verb_leader(struct ask *a);
void verb_control(struct ask *a);
void verb_call(struct ask *a);
void verb_events(struct ask *a);
void verb_check(struct ask *a);
void verb_trace(struct ask *a);

#endif
