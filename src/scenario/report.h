/* What people and machines are shown of a suite. */
#ifndef MK_SCENARIO_REPORT_H
#define MK_SCENARIO_REPORT_H

#include "scenario/suite.h"

struct report_style {
    bool colour;
    bool real;
    uint32_t patience;   /* 0: as long as the tests say */
    bool hashes;         /* of the traces */
    const char *program; /* "moonkeeper", in the command that runs a test again */
};

/* For people: a line for each test, a section for each that failed, a summary. */
void report_case(const struct suite *s, const struct suite_case *c,
                 const struct report_style *style, struct buffer *out);
void report_summary(const struct suite *s, const struct report_style *style, struct buffer *out);

/* Test Anything Protocol, version 14 (https://testanything.org/tap-version-14-specification.html).
 */
void report_tap_plan(const struct suite *s, struct buffer *out);
void report_tap_case(const struct suite *s, const struct suite_case *c,
                     const struct report_style *style, struct buffer *out);

/* The XML that JUnit's users read. All at once. */
void report_junit(const struct suite *s, const struct report_style *style, struct buffer *out);

/* "moonkeeper test FILE --filter 'NAME' --seed 7" */
void report_rerun(const struct suite_case *c, const struct report_style *style, struct buffer *out);
/* "tests/x.lua:12: got 1, expected 2" */
void report_message(const struct suite_case *c, struct buffer *out);
/* Where in the test file it happened, and who called that; nothing if one line says it all. */
void report_trace(const struct suite_case *c, struct buffer *out);

#endif
