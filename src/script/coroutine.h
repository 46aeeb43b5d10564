/* The coroutine library of application states. Like Lua's own (manual §6.2), except that a yield to
 * the scheduler passes through: a coroutine may wait (sleep, propose, ...), and so does the task it
 * is resumed in. Threads of tasks, and coroutines that wait, cannot be resumed or closed by
 * scripts. */
#ifndef MK_SCRIPT_COROUTINE_H
#define MK_SCRIPT_COROUTINE_H

#include <lua.h>

/* Stack: [-0, +1 (the library)]. Raises: out of memory. */
int coroutine_open(lua_State *L);

#endif
