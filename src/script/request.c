#include "script/request.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "script/report.h"
#include "script/task.h"
#include "script/thread.h"
#include "script/value.h"

static void send(struct script_host *host, uint64_t id, const char *method, struct buffer *params)
{
    struct script_request *request = NEW(struct script_request);
    request->id = id;
    snprintf(request->method, sizeof request->method, "%s", method);
    request->params = slice_copy(buffer_bytes(params));
    buffer_close(params);
    host->stats.requests++;
    host->options.request(host->options.ctx, request);
}

/* No slot: request_table_take() finds nothing under such an id. */
uint64_t request_own_id(struct script_host *host)
{
    return ++host->own_requests << 32;
}

void request_send(struct script_host *host, const char *method, struct buffer *params)
{
    send(host, request_own_id(host), method, params);
}

int request_result(lua_State *L)
{
    enum task_wake wake = task_woken(L);
    struct task *task = thread_app(L)->host->current;
    if (wake == WAKE_TIME) {
        return report_fail(L, ERR_TIMEOUT, NULL);
    }
    if (task->reply_err != ERR_OK) {
        return report_fail(L, task->reply_err, task->reply_message);
    }
    if (task->reply.size == 0) {
        lua_pushnil(L);
        return 1;
    }
    struct why why = {0};
    enum err err = value_decode(L, slice_bytes(task->reply), NULL, &why);
    slice_close(&task->reply);
    return err == ERR_OK ? 1 : report_fail(L, err, why.text);
}

static int answered(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return request_result(L);
}

uint64_t request_begin(lua_State *L)
{
    struct script_host *host = thread_app(L)->host;
    if (host->requests.pending >= host->options.limits.requests_max) {
        return 0;
    }
    host->current->give_up = NULL;
    host->current->request_id = request_table_add(&host->requests, host->current);
    return host->current->request_id;
}

int request_await(lua_State *L, uint64_t until_us, lua_KFunction k)
{
    return task_wait(L, until_us, k, 0);
}

int request_wait(lua_State *L, const char *method, struct buffer *params)
{
    uint64_t id = request_begin(L);
    if (id == 0) {
        buffer_close(params);
        return report_fail(L, ERR_BUSY, "too many requests are unanswered");
    }
    send(thread_app(L)->host, id, method, params);
    return request_await(L, UINT64_MAX, answered);
}

void request_answered(struct script_host *host, uint64_t id, enum err err, char *message_take,
                      struct slice result_take)
{
    struct task *task = request_table_take(&host->requests, id);
    if (task == NULL) {
        free(message_take);
        slice_close(&result_take);
        process_gone(host, id);
        return;
    }
    task->request_id = 0;
    free(task->reply_message);
    slice_close(&task->reply);
    task->reply_err = err;
    task->reply_message = message_take;
    task->reply = result_take;
    task_wake(task, WAKE_CALL);
}
