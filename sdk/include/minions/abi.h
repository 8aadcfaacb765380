/* The seam between core and a runtime plugin: plain C, nothing else crosses it.
 *
 * A plugin is a shared object that exports one function, minions_plugin_entry(), and nothing else. It returns a
 * descriptor that stays valid for the life of the process. Everything after that is messages: UTF-8 JSON documents
 * with file descriptors beside them, passed by call functions in both directions. The same messages travel over a
 * socketpair when the plugin runs in a process of its own. docs/sdk/seam.md lists the methods.
 *
 * Rules that hold for every function here:
 * - Any thread may call, several at once; calls nest (a plugin may call the host while the host calls it).
 * - Nothing throws across the seam.
 * - Memory belongs to the side that allocated it and is valid for the duration of the call it was passed to.
 * - File descriptors change owner: who receives one closes it, whatever the outcome of the call.
 *
 * How the structs grow: a minor version appends members and nothing else, and each struct says how large its maker
 * knew it. Who reads one takes min(that size, its own) and treats what is beyond as zero; a struct smaller than its
 * MINIONS_…_SIZE_1_0 is malformed.
 */
#ifndef MINIONS_ABI_H
#define MINIONS_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MINIONS_ABI_MAGIC UINT64_C(0x534e4f494e494d01) /* "\1MINIONS", little endian */
#define MINIONS_ABI_MAJOR 1 /* a plugin of another major version is refused */
#define MINIONS_ABI_MINOR 0 /* newer minors only add members at the end and methods */

#define MINIONS_SIZE_UP_TO(type, member) (offsetof(type, member) + sizeof(((type*)0)->member))

/* Takes the one reply of a call. The callee calls it exactly once, before it returns. */
typedef void (*minions_reply_fn)(void* sink, const char* data, size_t size, const int* fds, size_t fd_count);

/* Handles one request and answers through `reply`. `call_id` names the call: unique per direction, never 0 for
 * calls into the plugin. Calls into the host carry the id of the plugin call they serve, or 0 for none. */
typedef void (*minions_call_fn)(void* self, uint64_t call_id, const char* data, size_t size, const int* fds,
                                size_t fd_count, minions_reply_fn reply, void* sink);

/* What core offers a plugin. Valid from open() until the process ends. */
typedef struct minions_host {
    uint32_t size; /* sizeof(minions_host) of the core that made it */
    uint16_t abi_major;
    uint16_t abi_minor;
    void* self;
    minions_call_fn call;
} minions_host;

#define MINIONS_HOST_SIZE_1_0 MINIONS_SIZE_UP_TO(minions_host, call)

enum { MINIONS_CONFIG_SECRET = 1, MINIONS_CONFIG_REQUIRED = 2 };

/* One configuration key, `runtimes.<plugin name>.<name>` in the configuration file. A plugin gets the values once, by
 * open(): a change needs a restart of the daemon. */
typedef struct minions_config_key {
    const char* name;
    const char* type;          /* "string", "integer", "number", "boolean", "list" */
    const char* default_value; /* as it would stand in the file; "" for a number or boolean: none, absent from open() */
    int64_t min;               /* of integers; INT64_MIN where there is no bound */
    int64_t max;
    uint32_t flags;
    const char* doc; /* one line */
} minions_config_key;

#define MINIONS_CONFIG_KEY_SIZE_1_0 MINIONS_SIZE_UP_TO(minions_config_key, doc)

enum { MINIONS_KIND_VM = 1, MINIONS_KIND_CONTAINER = 2 };

/* Arrays of strings end with NULL. */
typedef struct minions_plugin {
    uint64_t magic;
    uint16_t abi_major;
    uint16_t abi_minor;
    uint32_t size; /* sizeof(minions_plugin) of the headers the plugin was built against */
    const char* name;
    const char* version;
    const char* description;
    uint32_t kind;
    uint32_t config_key_size; /* sizeof(minions_config_key) of those headers: the step of the array */
    const char* const* facets;
    const char* const* features; /* spec features it honours: "volumes.readonly", … */
    const minions_config_key* config_keys;
    size_t config_key_count;

    /* Makes the runtime object from {"config": {...}, "installation": "…", "directories": {...}}; replies {"r": {}}
     * or {"e": error}. Called once in a process. On success *plugin is what `call` gets as self. Must not touch the
     * outside world beyond opening what it needs to answer health: core rehearses it with the same parameters in a
     * process that it ends again, before it is called in the daemon's. */
    void (*open)(const minions_host* host, const char* data, size_t size, void** plugin, minions_reply_fn reply,
                 void* sink);
    minions_call_fn call;
} minions_plugin;

#define MINIONS_PLUGIN_SIZE_1_0 MINIONS_SIZE_UP_TO(minions_plugin, call)

typedef const minions_plugin* (*minions_entry_fn)(void);

/* The one exported symbol of a plugin. */
#define MINIONS_ENTRY_SYMBOL "minions_plugin_entry"

#ifdef __cplusplus
}
#endif

#endif
