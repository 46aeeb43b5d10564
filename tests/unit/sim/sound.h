/* Simulated clusters in unit tests: nothing was violated. Included after cmocka.h and its headers.
 */
#ifndef TESTS_UNIT_SIM_SOUND_H
#define TESTS_UNIT_SIM_SOUND_H

#include <stdio.h>

#include "sim/cluster.h"

/* Fails with the report of the cluster, its last events included, if the checker has found
 * something. */
static inline void assert_sound(struct cluster *c)
{
    struct buffer text = {0};
    cluster_report(c, &text);
    if (text.size > 0) {
        fprintf(stderr, "%s", buffer_text(&text));
    }
    assert_int_equal(text.size, 0);
    buffer_close(&text);
}

#endif
