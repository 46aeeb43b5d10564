/* What a lua_State of an application carries in its extra space: its app, and flags. A new
 * coroutine inherits those of the main state: the app, no flags. */
#ifndef MK_SCRIPT_THREAD_H
#define MK_SCRIPT_THREAD_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

struct app;

enum thread_flag {
    THREAD_TASK = 1,    /* the base of a task: scripts cannot resume or close it */
    THREAD_WAITING = 2, /* yielded to the scheduler: scripts cannot resume or close it */
    THREAD_CLOSING = 4, /* its <close> variables are being closed: it cannot yield */
};

static inline uintptr_t *thread_word(lua_State *L)
{
    return (uintptr_t *)lua_getextraspace(L);
}
static inline struct app *thread_app(lua_State *L)
{
    return (struct app *)(*thread_word(L) & ~(uintptr_t)7);
}
static inline void thread_init(lua_State *L, struct app *app)
{
    *thread_word(L) = (uintptr_t)app;
}
static inline void thread_set(lua_State *L, enum thread_flag flag, bool on)
{
    *thread_word(L) = on ? *thread_word(L) | (uintptr_t)flag : *thread_word(L) & ~(uintptr_t)flag;
}
static inline bool thread_is(lua_State *L, enum thread_flag flag)
{
    return (*thread_word(L) & (uintptr_t)flag) != 0;
}

#endif
