/* Errors: the objects that scripts see, and what happens to an error that nobody caught. */
#ifndef MK_SCRIPT_REPORT_H
#define MK_SCRIPT_REPORT_H

#include <lua.h>

#include "base/err.h"
#include "base/log.h"

struct app;
struct task;

/* Once per state: the metatable of error objects. Stack: [-0, +0]. Raises: out of memory. */
void report_open(lua_State *L);

/* Push {code, message}, which prints as "code: message". message may be NULL or "": then the
 * error's own. Stack: [-0, +1]. Raises: out of memory. */
void report_push(lua_State *L, enum err code, const char *message);
/* nil, err: how expected failures are returned. Stack: [-0, +2]. Returns 2. */
int report_fail(lua_State *L, enum err code, const char *message);
/* Raise it. Does not return. */
int report_raise(lua_State *L, enum err code, const char *message);
/* Raise that the API was misused, at the line of the script that did it: not at that of the module
 * of ours through which it came. Does not return. */
int report_misuse(lua_State *L, const char *message);
/* The code of the value at index; ERR_COUNT if it is no error object. Stack: [-0, +0]. */
enum err report_code(lua_State *L, int index);

/* A string for people of any error value, without calling a metamethod. Stack: [-0, +1]. */
const char *report_text(lua_State *L, int index);

/* The fields of the node's own in a line that a task logs, in their order: app; hook, term and
 * index if it works for a hook's call; hook and term if it works for a while_leader. task may be
 * NULL. Borrowed from both. Returns how many. */
enum { REPORT_FIELDS_MAX = 4 };
size_t report_fields(const struct app *app, const struct task *task,
                     struct log_field out[REPORT_FIELDS_MAX]);

/* An error that nobody caught: logged with its traceback, counted, told to the "error" hooks
 * (unless it comes from one of those). task: whose it is; may be NULL, as may traceback. count:
 * errors so far in the same place. */
void report_error(struct app *app, const struct task *task, const char *where, const char *message,
                  const char *traceback, uint64_t count);

#endif
