/* Applications: one Lua state each. */
#ifndef MK_SCRIPT_APP_H
#define MK_SCRIPT_APP_H

#include "script/host.h"

/* A state in which the script is compiled and its main chunk waits for its first turn, or, in phase
 * APP_STAGED, to be let go. Errors: as script_host_load(). */
enum err app_new(struct script_host *host, const struct script_app *spec, enum app_phase phase,
                 struct app **out, struct why *why);
/* Its main chunk has come as far as to wait, or to its end. */
void app_started(struct app *app);
/* Its main chunk did not come to its end: why, and where it was (may be NULL). */
void app_failed(struct app *app, const char *failure, const char *traceback);
/* The one on the host's list, or NULL. */
struct app *app_find(const struct script_host *host, const char *name);
const char *app_state_name(enum app_state state);
/* Ends its tasks and hooks, closes the state. */
void app_free(struct app *app);

#endif
