/* ASSERT: programmer errors only, always on, one condition each. What comes from disk, wire or Lua
 * never reaches an ASSERT: it gets an enum err. */
#ifndef MK_BASE_ASSERT_H
#define MK_BASE_ASSERT_H

_Noreturn void assert_failed(const char *condition, const char *file, int line);

#define ASSERT(condition) \
    (__builtin_expect(!!(condition), 1) ? (void)0 : assert_failed(#condition, __FILE__, __LINE__))

#endif
