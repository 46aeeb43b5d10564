/* Histories as text, one event a line, in two formats:
 *
 *   Jepsen's log   INFO  jepsen.util - 3 :invoke :cas [1 4]
 *                  One register. :read, :write VALUE, :cas [EXPECTED VALUE]; :invoke, then :ok,
 *                  :fail (it did not happen) or :info (it may have). Lines of :nemesis are skipped.
 *   EDN maps       {:process 3, :type :invoke, :f :append, :key "a", :value "x"}
 *                  Keys and values. :get, :put and :append (:read, :write and :cas as well).
 *
 * A value is kept as it is written: a number, a word, nil; a string without its quotes. */
#ifndef MK_SIM_HISTORY_FILE_H
#define MK_SIM_HISTORY_FILE_H

#include "base/bytes.h"
#include "base/err.h"
#include "sim/history.h"

enum history_format { HISTORY_JEPSEN_LOG, HISTORY_EDN_MAPS };

/* Read all of text. The places of its events are lines, counted from 1. On ERR_OK the caller owns
 * *out; *format is that of the first line that has one.
 * Errors: ERR_INVALID for what is no history, why names the line; ERR_TOO_LARGE. */
enum err history_parse(struct bytes text, struct history **out, enum history_format *format,
                       struct why *why);

#endif
