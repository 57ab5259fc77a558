// SPDX-License-Identifier: Apache-2.0
// Lets Linux 6.1 as User-Mode Linux run on processors whose extended state is larger than it was built for.
//
// User-Mode Linux keeps a guest process' floating point state in a buffer of 2,696 bytes, which is all of the
// state up to AVX-512 and protection keys. On a processor with AMX the state is 11,008 bytes, and the host refuses
// a PTRACE_SETREGSET of NT_X86_XSTATE that is not of the whole size (arch/x86/kernel/fpu/regset.c,
// xstateregs_set: EFAULT), so that the guest dies at its first process. Loaded with LD_PRELOAD, this adds the
// rest, empty: the state's own header says that AMX is not in use, and nothing in the guest uses it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#ifndef NT_X86_XSTATE
#define NT_X86_XSTATE 0x202
#endif

typedef long (*ptrace_call)(int, ...);

static ptrace_call next_ptrace;

__attribute__((constructor)) static void find_next(void)
{
	next_ptrace = (ptrace_call)dlsym(RTLD_NEXT, "ptrace");
}

long ptrace(enum __ptrace_request request, ...)
{
	static unsigned char state[65536];
	static size_t state_size;
	va_list arguments;

	va_start(arguments, request);
	int pid = va_arg(arguments, int);
	void *address = va_arg(arguments, void *);
	void *data = va_arg(arguments, void *);
	va_end(arguments);

	if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE) {
		struct iovec *given = data;
		struct iovec whole = { state, sizeof(state) };

		if (!state_size && next_ptrace(PTRACE_GETREGSET, pid, address, &whole) == 0)
			state_size = whole.iov_len;
		if (given->iov_len < state_size) {
			memcpy(state, given->iov_base, given->iov_len);
			memset(state + given->iov_len, 0, state_size - given->iov_len);
			whole.iov_len = state_size;
			return next_ptrace(request, pid, address, &whole);
		}
	}
	return next_ptrace(request, pid, address, data);
}
