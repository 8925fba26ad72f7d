/* Most of it is a file of /proc or one call. Under a service manager some of /proc may be hidden;
 * then the member is left out and the others stay. */
#include "daemon/sys.h"

#include <archive.h>
#include <arpa/inet.h>
#include <curl/curl.h>
#include <dirent.h>
#include <elf.h>
#include <gnu/libc-version.h>
#include <link.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <uv.h>
#include <zlib.h>

#include "base/mem.h"
#include "daemon/daemon.h"

enum { LINE_MAX_ = 1024, PATH_MAX_ = 64, CPU_MODEL_MAX = 128 };

/* ---- Reading ---- */

static void proc_path(char ret[PATH_MAX_], int pid, const char *name)
{
	(void)snprintf(ret, PATH_MAX_, "/proc/%d/%s", pid, name);
}

/* The number behind `key` on a line of a file; 0 when there is none. */
static uint64_t number_in(const char *path, const char *key)
{
	FILE *f = fopen(path, "re");
	char line[LINE_MAX_];
	uint64_t value = 0;

	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		if (strncmp(line, key, strlen(key)) != 0)
			continue;
		value = strtoull(line + strlen(key), NULL, 10);
		break;
	}
	if (f != NULL)
		(void)fclose(f);
	return value;
}

/* The text behind `key`, without what is around it. False when there is none. */
static bool text_in(const char *path, const char *key, char *ret, size_t size)
{
	FILE *f = fopen(path, "re");
	char line[LINE_MAX_];
	bool found = false;

	while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL) {
		const char *at = line + strlen(key);

		if (strncmp(line, key, strlen(key)) != 0)
			continue;
		at += strspn(at, "\t :=\"");
		(void)snprintf(ret, size, "%.*s", (int)strcspn(at, "\"\n"), at);
		found = true;
	}
	if (f != NULL)
		(void)fclose(f);
	return found;
}

static void set_count(json_t *o, const char *name, uint64_t value)
{
	(void)json_object_set_new(o, name, json_integer((json_int_t)value));
}

/* ---- Single facts ---- */

bool sys_disk(const char *path, uint64_t *ret_free_bytes, uint64_t *ret_free_inodes)
{
	struct statvfs s;

	if (path == NULL || statvfs(path, &s) < 0)
		return false;
	*ret_free_bytes = (uint64_t)s.f_bavail * s.f_frsize;
	*ret_free_inodes = s.f_files > 0 ? s.f_favail : 0;
	return true;
}

void sys_raise_descriptors(uint64_t want)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= want)
		return;
	limit.rlim_cur = MIN(limit.rlim_max, (rlim_t)want);
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

bool sys_descriptors(int pid, uint64_t *ret_used, uint64_t *ret_limit)
{
	char path[PATH_MAX_];
	uint64_t count = 0;
	DIR *dir;

	proc_path(path, pid, "fd");
	dir = opendir(path);
	if (dir == NULL)
		return false;
	while (readdir(dir) != NULL)
		count++;
	(void)closedir(dir);
	proc_path(path, pid, "limits");
	*ret_used = count > 2 ? count - 2 : 0; /* "." and ".." */
	*ret_limit = number_in(path, "Max open files");
	return true;
}

/* Of cgroup version 2, the limit of the process's own group; 0 = none, or not known. */
static uint64_t cgroup_number(int pid, const char *name)
{
	char path[PATH_MAX_], group[512], file[700];

	proc_path(path, pid, "cgroup");
	if (!text_in(path, "0::", group, sizeof(group)))
		return 0;
	(void)snprintf(file, sizeof(file), "/sys/fs/cgroup%s/%s", group, name);
	return number_in(file, "");
}

bool sys_memory(int pid, uint64_t *ret_used_bytes, uint64_t *ret_limit_bytes)
{
	char path[PATH_MAX_];
	uint64_t used, own;

	proc_path(path, pid, "status");
	used = number_in(path, "VmRSS:") * 1024;
	if (used == 0)
		return false;
	proc_path(path, pid, "limits");
	own = number_in(path, "Max address space");
	*ret_used_bytes = used;
	*ret_limit_bytes = cgroup_number(pid, "memory.max");
	if (own > 0 && (*ret_limit_bytes == 0 || own < *ret_limit_bytes))
		*ret_limit_bytes = own;
	return true;
}

uint64_t sys_memory_available(void)
{
	return number_in("/proc/meminfo", "MemAvailable:") * 1024;
}

bool sys_clock_unsynced(void)
{
	struct timex t = { 0 };
	int state = adjtimex(&t);

	return state == TIME_ERROR && (t.status & STA_UNSYNC) != 0;
}

/* ---- The program ---- */

struct note {
	const uint8_t *at;
	size_t len;
};

/* The first object that is told of is the program itself. */
static int find_note(struct dl_phdr_info *info, size_t size, void *data)
{
	struct note *ret = data;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		const uint8_t *at = (const uint8_t *)(info->dlpi_addr + p->p_vaddr), *end;

		if (p->p_type != PT_NOTE)
			continue;
		for (end = at + p->p_memsz; end - at >= (ptrdiff_t)sizeof(ElfW(Nhdr));) {
			ElfW(Nhdr) n;

			memcpy(&n, at, sizeof(n));
			at += sizeof(n) + ((n.n_namesz + 3) & ~3U);
			if (n.n_type == NT_GNU_BUILD_ID)
				*ret = (struct note){ at, n.n_descsz };
			at += (n.n_descsz + 3) & ~3U;
		}
	}
	return 1;
}

void sys_build_id(char ret[SYS_BUILD_ID_SIZE])
{
	struct note note = { 0 };

	ret[0] = '\0';
	(void)dl_iterate_phdr(find_note, &note);
	for (size_t i = 0; i < MIN(note.len, (size_t)(SYS_BUILD_ID_SIZE - 1) / 2); i++)
		(void)snprintf(ret + 2 * i, 3, "%02x", note.at[i]);
}

static json_t *libraries(void)
{
	json_t *o = json_object();

	(void)json_object_set_new(o, "libc", json_string(gnu_get_libc_version()));
	(void)json_object_set_new(o, "libuv", json_string(uv_version_string()));
	(void)json_object_set_new(o, "libsodium", json_string(sodium_version_string()));
	(void)json_object_set_new(o, "sqlite", json_string(sqlite3_libversion()));
	(void)json_object_set_new(o, "zlib", json_string(zlibVersion()));
	(void)json_object_set_new(o, "curl", json_string(curl_version()));
	(void)json_object_set_new(o, "jansson", json_string(JANSSON_VERSION));
	(void)json_object_set_new(o, "libarchive", json_string(archive_version_string()));
	return o;
}

json_t *sys_build(void)
{
	char id[SYS_BUILD_ID_SIZE];

	sys_build_id(id);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "version", PEERSCOPE_VERSION, "build_id",
			 id, "compiler",
#ifdef __clang__
			 "clang " __clang_version__,
#else
			 "gcc " __VERSION__,
#endif
			 "optimized",
#ifdef __OPTIMIZE__
			 "yes",
#else
			 "no",
#endif
			 "sanitizer",
#ifdef __SANITIZE_ADDRESS__
			 "address",
#else
			 "none",
#endif
			 "libraries", libraries());
}

/* ---- The machine ---- */

static json_t *runtime(int pid)
{
	char path[PATH_MAX_];
	struct utsname u = { 0 };
	json_t *o = json_object();

	(void)uname(&u);
	proc_path(path, pid, "status");
	(void)json_object_set_new(o, "os", json_string("linux"));
	(void)json_object_set_new(o, "arch", json_string(u.machine));
	(void)json_object_set_new(o, "compiler",
				  json_string(
#ifdef __clang__
					  "clang"
#else
					  "gcc"
#endif
					  ));
	(void)json_object_set_new(o, "version", json_string(__VERSION__));
	set_count(o, "numcpu", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
	set_count(o, "gomaxprocs", (uint64_t)uv_available_parallelism());
	set_count(o, "threads", number_in(path, "Threads:"));
	set_count(o, "page_size", (uint64_t)sysconf(_SC_PAGESIZE));
	return o;
}

static json_t *machine(void)
{
	char text[CPU_MODEL_MAX];
	json_t *o = json_object();
	struct utsname u = { 0 };
	double load[3] = { 0 }, up = 0;

	(void)uname(&u);
	(void)json_object_set_new(o, "kernel", json_sprintf("%s %s", u.sysname, u.release));
	if (text_in("/etc/os-release", "PRETTY_NAME", text, sizeof(text)))
		(void)json_object_set_new(o, "distribution", json_string(text));
	if (text_in("/proc/cpuinfo", "model name", text, sizeof(text)))
		(void)json_object_set_new(o, "cpu", json_string(text));
	if (text_in("/proc/self/cgroup", "0::", text, sizeof(text)))
		(void)json_object_set_new(o, "container",
					  json_boolean(access("/.dockerenv", F_OK) == 0 ||
						       access("/run/.containerenv", F_OK) == 0));
	uv_loadavg(load);
	(void)uv_uptime(&up);
	(void)json_object_set_new(o, "load", json_pack("[f,f,f]", load[0], load[1], load[2]));
	set_count(o, "uptime_s", (uint64_t)up);
	(void)json_object_set_new(o, "clock_synchronised", json_boolean(!sys_clock_unsynced()));
	return o;
}

static const char *file_system_name(long type)
{
	static const struct {
		long type;
		const char *name;
	} names[] = { { 0xef53, "ext4" },      { 0x9123683e, "btrfs" },	  { 0x58465342, "xfs" },
		      { 0x01021994, "tmpfs" }, { 0x794c7630, "overlay" }, { 0x6969, "nfs" },
		      { 0x2fc12fc1, "zfs" },   { 0x65735546, "fuse" },	  { 0xff534d42, "cifs" },
		      { 0xf2f52010, "f2fs" },  { 0x4d44, "vfat" } };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].type == type)
			return names[i].name;
	return "";
}

static json_t *disk(const char *data)
{
	json_t *o = json_object();
	struct statvfs v;
	struct statfs s;

	if (data == NULL || statvfs(data, &v) < 0 || statfs(data, &s) < 0)
		return o;
	(void)json_object_set_new(o, "fstype", json_string(file_system_name((long)s.f_type)));
	set_count(o, "total_space", (uint64_t)v.f_blocks * v.f_frsize);
	set_count(o, "free_space", (uint64_t)v.f_bavail * v.f_frsize);
	set_count(o, "free_inodes", v.f_favail);
	return o;
}

static json_t *memory(int pid)
{
	uint64_t used = 0, limit = 0;
	char path[PATH_MAX_];
	json_t *o = json_object();

	proc_path(path, pid, "status");
	set_count(o, "total", number_in("/proc/meminfo", "MemTotal:") * 1024);
	set_count(o, "available", sys_memory_available());
	set_count(o, "swap", number_in("/proc/meminfo", "SwapTotal:") * 1024);
	set_count(o, "swap_free", number_in("/proc/meminfo", "SwapFree:") * 1024);
	set_count(o, "virt", number_in(path, "VmSize:") * 1024);
	if (sys_memory(pid, &used, &limit)) {
		set_count(o, "rss", used);
		if (limit > 0)
			set_count(o, "limit", limit);
	}
	return o;
}

static json_t *limits(int pid)
{
	uint64_t used = 0, limit = 0;
	char path[PATH_MAX_];
	json_t *o = json_object();

	if (sys_descriptors(pid, &used, &limit)) {
		set_count(o, "descriptors", used);
		set_count(o, "descriptors_max", limit);
	}
	proc_path(path, pid, "limits");
	set_count(o, "processes_max", number_in(path, "Max processes"));
	set_count(o, "locked_memory_max", number_in(path, "Max locked memory"));
	return o;
}

static const char *kind_of(const uv_interface_address_t *a)
{
	const uint8_t *b = (const uint8_t *)&a->address.address4.sin_addr;
	const uint8_t *six = (const uint8_t *)&a->address.address6.sin6_addr;

	if (a->is_internal)
		return "loopback";
	if (a->address.address4.sin_family == AF_INET6) {
		if (six[0] == 0xfe && (six[1] & 0xc0) == 0x80)
			return "link-local";
		return (six[0] & 0xfe) == 0xfc ? "private" : "public";
	}
	if (b[0] == 169 && b[1] == 254)
		return "link-local";
	if (b[0] == 10 || (b[0] == 172 && (b[1] & 0xf0) == 16) || (b[0] == 192 && b[1] == 168) ||
	    (b[0] == 100 && (b[1] & 0xc0) == 64))
		return "private";
	return "public";
}

static json_t *net(bool with_addresses)
{
	json_t *o = json_object(), *list = json_array();
	uv_interface_address_t *a = NULL;
	int count = 0;
	bool online = false;

	if (uv_interface_addresses(&a, &count) < 0)
		count = 0;
	for (int i = 0; i < count; i++) {
		bool six = a[i].address.address4.sin_family == AF_INET6;
		char text[INET6_ADDRSTRLEN] = "";

		(void)(six ? uv_ip6_name(&a[i].address.address6, text, sizeof(text)) :
			     uv_ip4_name(&a[i].address.address4, text, sizeof(text)));
		online = online || !a[i].is_internal;
		(void)json_array_append_new(
			list, json_pack("{s:s, s:s, s:s}", "family", six ? "ipv6" : "ipv4", "kind",
					kind_of(&a[i]), "address", with_addresses ? text : ""));
	}
	uv_free_interface_addresses(a, count);
	(void)json_object_set_new(o, "interface_addresses", list);
	(void)json_object_set_new(o, "online", json_boolean(online));
	return o;
}

static json_t *environment(const char *data)
{
	static const char *const names[] = { "STATE_DIRECTORY", "XDG_STATE_HOME", "XDG_CONFIG_HOME",
					     "INVOCATION_ID", "NOTIFY_SOCKET" };
	json_t *o = json_object();

	(void)json_object_set_new(o, "PEERSCOPE_DATA", json_string(data != NULL ? data : ""));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (getenv(names[i]) != NULL)
			(void)json_object_set_new(o, names[i], json_string("set"));
	return o;
}

json_t *sys_facts(const char *data, int pid, bool with_addresses)
{
	json_t *o = json_object();

	(void)json_object_set_new(o, "diskinfo", disk(data));
	(void)json_object_set_new(o, "environment", environment(data));
	(void)json_object_set_new(o, "peerscope_version", json_string(PEERSCOPE_VERSION));
	(void)json_object_set_new(o, "memory", memory(pid));
	(void)json_object_set_new(o, "net", net(with_addresses));
	(void)json_object_set_new(o, "runtime", runtime(pid));
	(void)json_object_set_new(o, "machine", machine());
	(void)json_object_set_new(o, "limits", limits(pid));
	(void)json_object_set_new(o, "build", sys_build());
	return o;
}
