/* Linked into every program of a ThreadSanitizer build. Debian's liblua is hardened: its errors
 * leave by
 * __longjmp_chk, which ThreadSanitizer does not intercept. Without this, its shadow stack keeps a
 * frame for each function that an error has left, grows with every error, and in the end overflows.
 */
#include <setjmp.h>

_Noreturn void __longjmp_chk(jmp_buf environment, int value);

__attribute__((visibility("default"))) _Noreturn void __longjmp_chk(jmp_buf environment, int value)
{
    longjmp(environment, value); /* intercepted */
}
