/* What the files of the swarm's faults share. Private.
 *
 *     swarm_faults.c           which fault is next, and when
 *     swarm_faults_process.c   processes and hosts
 *     swarm_faults_path.c      paths between them
 *     swarm_faults_disk.c      disks
 *     swarm_faults_cluster.c   clocks; what operators ask for
 *
 * A fault never acts from inside the code under test: it is a call of the world. */
#ifndef MK_SIM_SWARM_FAULTS_INTERNAL_H
#define MK_SIM_SWARM_FAULTS_INTERNAL_H

#include "sim/swarm_faults.h"

/* Scheduled calls carry the round in which they were scheduled, and the host they concern. */
bool faults_current(const struct faults *f, uint64_t arg);
struct sim_process *faults_host(const struct faults *f, uint64_t arg);
void faults_later(struct faults *f, uint64_t delay_us, world_fn fn, uint32_t host);
/* Mostly short, sometimes ten units and more. */
uint64_t faults_draw_while(struct faults *f);

/* The host is started if it is down. */
void faults_on_boot(void *ctx, uint64_t arg);

/* One for each fault. False: it did not come about. */
bool fault_crash(struct faults *f, uint32_t host);
bool fault_crash_guardian(struct faults *f, uint32_t host);
bool fault_crash_host(struct faults *f, uint32_t host);
bool fault_crash_all_hosts(struct faults *f, uint32_t host);
bool fault_crash_promised(struct faults *f, uint32_t host);
bool fault_crash_transfer(struct faults *f, uint32_t host);
bool fault_crash_recovery(struct faults *f, uint32_t host);
bool fault_restart_loop(struct faults *f, uint32_t host);
bool fault_stop(struct faults *f, uint32_t host);
bool fault_pause(struct faults *f, uint32_t host);
bool fault_partition(struct faults *f, uint32_t host);
bool fault_one_way(struct faults *f, uint32_t host);
bool fault_bridge(struct faults *f, uint32_t host);
bool fault_forgotten_word(struct faults *f, uint32_t host);
bool fault_drop_type(struct faults *f, uint32_t host);
bool fault_late_type(struct faults *f, uint32_t host);
bool fault_slow_host(struct faults *f, uint32_t host);
bool fault_disk_stall(struct faults *f, uint32_t host);
bool fault_disk_error(struct faults *f, uint32_t host);
bool fault_disk_full(struct faults *f, uint32_t host);
bool fault_torn_write(struct faults *f, uint32_t host);
bool fault_lost_names(struct faults *f, uint32_t host);
bool fault_bit_flip(struct faults *f, uint32_t host);
bool fault_wall_clock(struct faults *f, uint32_t host);
bool fault_clock_rate(struct faults *f, uint32_t host);
bool fault_clock_jump(struct faults *f, uint32_t host);
bool fault_transfer(struct faults *f, uint32_t host);
bool fault_certificate_replay(struct faults *f, uint32_t host);
bool fault_snapshot(struct faults *f, uint32_t host);
bool fault_members(struct faults *f, uint32_t host);

#endif
