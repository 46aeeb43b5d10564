/* Asking the node. */
#ifndef MK_SCRIPT_REQUEST_H
#define MK_SCRIPT_REQUEST_H

#include "script/host.h"

/* Send a request of the host's own, whose answer is of no interest. Takes over the contents of
 * params (a MessagePack array), which is empty afterwards. */
void request_send(struct script_host *host, const char *method, struct buffer *params);
/* A number, never 0, for a call of the host's own: no task waits for it. */
uint64_t request_own_id(struct script_host *host);

/* Send a request of the running task and wait for the answer: the result, or nil and an error.
 * The caller has called task_that_waits() and nothing since that can raise. Takes over the contents
 * of params. Only as `return request_wait(...)`. */
int request_wait(lua_State *L, const char *method, struct buffer *params);

/* The same in parts, for what is asked of others than the node: a number for the running task to be
 * answered under (script_host_reply), 0 if there are too many; wait for the answer, or until_us,
 * and go on in k; push the answer, or nil and an error, there. Between the first two nothing may
 * raise. */
uint64_t request_begin(lua_State *L);
int request_await(lua_State *L, uint64_t until_us, lua_KFunction k);
/* Returns 1 (the answer) or 2. Raises the cancellation. Stack: [-0, +1 or +2]. */
int request_result(lua_State *L);

/* Hand an answer to the task that waits for it. Takes over message and result. */
void request_answered(struct script_host *host, uint64_t id, enum err err, char *message_take,
                      struct slice result_take);

#endif
