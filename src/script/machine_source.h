/* What a machine's source may not say, and the one thing that it says differently.
 *
 * The length operator of plain Lua gives, for a table with holes, a border that depends on how the
 * table grew and on the seed of the string hash. So `#x` is compiled as `_LEN^x`: `^` is the one
 * binary operator that binds its right side exactly as `#` binds its operand, and _LEN is an object
 * whose power is the length by a fixed rule (machine_base.c). `^` itself is refused: the last bit
 * of a power differs between processors. So are the names _LEN, and _ENV, behind which the
 * environment is read-only. Lines stay where they are. */
#ifndef MK_SCRIPT_MACHINE_SOURCE_H
#define MK_SCRIPT_MACHINE_SOURCE_H

#include "base/bytes.h"
#include "base/err.h"

#define MACHINE_LENGTH_NAME "_LEN"

/* Append to out what is to be compiled. Errors: INVALID: refused, why says line and reason. A
 * source that is no Lua at all is passed on as it is: the compiler says so better. */
enum err machine_source_translate(struct bytes source, struct buffer *out, struct why *why);

#endif
