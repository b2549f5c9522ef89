/* Preloaded into a server, this is another time of day: it is off by as many seconds as the first
 * eight bytes of the file say that CLOCK_OFFSET names, from one moment to the next. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int64_t offset(void) {
	static volatile int64_t *at;
	static int looked;
	if (!looked) {
		looked = 1;
		const char *path = getenv("CLOCK_OFFSET");
		int fd = path ? open(path, O_RDONLY) : -1;
		if (fd >= 0) {
			void *p = mmap(0, 8, PROT_READ, MAP_SHARED, fd, 0);
			if (p != MAP_FAILED) at = p;
			close(fd);
		}
	}
	return at ? *at : 0;
}

int clock_gettime(clockid_t clock, struct timespec *t) {
	int r = syscall(SYS_clock_gettime, clock, t);
	if (r == 0 && clock == CLOCK_REALTIME) t->tv_sec += offset();
	return r;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone) {
	struct timespec now;
	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	t->tv_sec = now.tv_sec;
	t->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *t) {
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (t) *t = now.tv_sec;
	return now.tv_sec;
}
