/* Preloaded into a store's server, makes its wall clock stand still: at the nanoseconds in the file SERVER_CLOCK.

   The server would interpolate between two looks at the wall clock by the processor's time stamp counter; it does not
   where it cannot read /proc/cpuinfo. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile long long *nanoseconds;

__attribute__((constructor)) static void find_clock(void) {
  const char *path = getenv("SERVER_CLOCK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *seen = mmap(NULL, sizeof *nanoseconds, PROT_READ, MAP_SHARED, file, 0);
  if (seen != MAP_FAILED) nanoseconds = seen;
  close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  long failed = syscall(SYS_clock_gettime, clock, now);
  if (!failed && nanoseconds && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    long long told = *nanoseconds;
    now->tv_sec = told / 1000000000;
    now->tv_nsec = told % 1000000000;
  }
  return (int)failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec exact;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *copy) {
  struct timespec exact;
  if (clock_gettime(CLOCK_REALTIME, &exact)) return (time_t)-1;
  if (copy) *copy = exact.tv_sec;
  return exact.tv_sec;
}

FILE *fopen(const char *path, const char *mode) {
  static FILE *(*real)(const char *, const char *);
  if (!real) real = (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, "fopen");
  if (!strcmp(path, "/proc/cpuinfo")) return NULL;
  return real(path, mode);
}
FILE *fopen64(const char *path, const char *mode) { return fopen(path, mode); }
