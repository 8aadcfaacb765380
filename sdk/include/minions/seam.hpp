#pragma once

#include <minions/context.hpp>
#include <minions/types.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

/// The messages of the seam, as both sides use them. docs/sdk/seam.md describes them for other languages.
///
/// A request is {"m": method, "p": parameters, "d": deadline} with `d` in milliseconds from now (absent:
/// none); a reply is {"r": result} or {"e": error} (encode_error). Descriptors travel beside the document, in
/// the order that the method says.
namespace minions::seam {

struct Request {
    std::string method;
    Value parameters;
    std::optional<std::int64_t> deadline_ms;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("m", self.method, Field{.required = true});
        visit("p", self.parameters);
        visit("d", self.deadline_ms);
    }
};

/// Parameters of open().
struct Open {
    Value config;  ///< the plugin's keys without their prefix, typed
    std::string installation;
    Directories directories;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("config", self.config);
        visit("installation", self.installation);
        visit("directories", self.directories);
    }
};

/// Parameters of every method that concerns one instance; members that a method does not use are absent.
struct InstanceCall {
    std::optional<Instance> instance;
    Value spec;  ///< ExecSpec, LogsSpec, ResizeSpec, SnapshotSpec, BuildSpec, JournalRow
    std::optional<std::int64_t> grace_ms;  ///< stop
    std::optional<std::string> name;       ///< path of files, name of a snapshot, image to remove
    std::optional<int> port;               ///< forward
    std::optional<Instance> source;        ///< copy
    std::vector<std::string> fds;          ///< exec: what each passed descriptor is

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("instance", self.instance);
        visit("spec", self.spec);
        visit("grace_ms", self.grace_ms);
        visit("name", self.name);
        visit("port", self.port);
        visit("source", self.source);
        visit("fds", self.fds);
    }
};

/// Methods of the runtime. `cancel` has parameters {"call": id} and is answered at once. exec passes a
/// descriptor for each of the names in its parameter "fds" (of "input", "output", "error", "control"); logs,
/// read_files: [out]; write_files: [in]; build: [context, log]; the reply of forward carries one.
namespace method {
inline constexpr const char* cancel = "cancel";
inline constexpr const char* health = "health";
inline constexpr const char* create = "create";
inline constexpr const char* start = "start";
inline constexpr const char* stop = "stop";
inline constexpr const char* kill = "kill";
inline constexpr const char* destroy = "destroy";
inline constexpr const char* inspect = "inspect";
inline constexpr const char* release = "release";
inline constexpr const char* recover = "recover";
inline constexpr const char* recovered = "recovered";
inline constexpr const char* exec = "exec";
inline constexpr const char* logs = "logs";
inline constexpr const char* read_files = "read_files";
inline constexpr const char* write_files = "write_files";
inline constexpr const char* forward = "forward";
inline constexpr const char* pause = "pause";
inline constexpr const char* resume = "resume";
inline constexpr const char* resize = "resize";
inline constexpr const char* stats = "stats";
inline constexpr const char* create_snapshot = "create_snapshot";
inline constexpr const char* list_snapshots = "list_snapshots";
inline constexpr const char* restore_snapshot = "restore_snapshot";
inline constexpr const char* delete_snapshot = "delete_snapshot";
inline constexpr const char* copy = "copy";
inline constexpr const char* build = "build";
inline constexpr const char* remove_image = "remove_image";
}  // namespace method

/// Methods of the host. Those marked * need the id of a plugin call.
namespace host_method {
inline constexpr const char* log = "log";                        ///< {"level","message"}
inline constexpr const char* report = "report";                  ///< InstanceEvent
inline constexpr const char* health_changed = "health_changed";  ///< {}
inline constexpr const char* progress = "progress";              ///< * Progress
inline constexpr const char* save_state = "save_state";          ///< * RuntimeState
inline constexpr const char* journal_intend = "journal_intend";  ///< * {"kind","key"} → {"id"}
inline constexpr const char* journal_held = "journal_held";      ///< * {"id"}
inline constexpr const char* journal_gone = "journal_gone";      ///< * {"kind","key"}
inline constexpr const char* network_attach = "network_attach";  ///< * → NetworkAttachment
inline constexpr const char* network_detach = "network_detach";  ///< *
inline constexpr const char* process_home = "process_home";      ///< * → ProcessHome
/// * ProcessSpec, descriptors → ProcessInfo and one descriptor: SupervisedProcess::end
inline constexpr const char* process_start = "process_start";
/// * {"role"} → null, or as process_start
inline constexpr const char* process_find = "process_find";
inline constexpr const char* process_kill = "process_kill";    ///< * {"role"}
inline constexpr const char* image_acquire = "image_acquire";  ///< * {"name"} → VmImage
}  // namespace host_method

}  // namespace minions::seam
