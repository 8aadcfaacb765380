#include "plugins/vmkit/contexts.hpp"
#include "plugins/vmkit/disks.hpp"
#include "plugins/vmkit/vm_runtime.hpp"

#include <minions/base/failpoint.hpp>
#include <minions/base/files.hpp>
#include <minions/base/time.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

namespace minions::vmkit {

namespace fs = std::filesystem;

namespace {

constexpr const char* unfinished = ".new";
constexpr std::size_t most_manifest = std::size_t{64} << 10U;
constexpr milliseconds thaw_timeout = std::chrono::seconds(10);

/// What is beside a snapshot's disk and memory.
struct Manifest : Size {
    SnapshotInfo info;
    Disk disk;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("info", self.info, Field{.required = true});
        visit("disk", self.disk, Field{.required = true});
        Size::fields(self, visit);
    }
};

std::string snapshots_of(const ProcessHome& home) { return home.directory + "/snapshots"; }

Fd directory_at(const std::string& path) {
    if (::mkdir(path.c_str(), 0710) != 0 && errno != EEXIST)
        throw error_from_errno(errno, "cannot make " + path);
    Fd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (!directory) throw error_from_errno(errno, "cannot open " + path);
    return directory;
}

void give(const std::string& path, const ProcessHome& home, mode_t mode, std::int64_t uid) {
    if (::chmod(path.c_str(), mode) != 0) throw error_from_errno(errno, "cannot set the mode of " + path);
    if (::geteuid() == 0 &&
        ::lchown(path.c_str(), static_cast<uid_t>(uid), static_cast<gid_t>(home.gid)) != 0)
        throw error_from_errno(errno, "cannot give " + path + " to the machine's user");
}

void flush(const Fd& directory, const std::string& what) {
    if (::fsync(directory.get()) != 0) throw error_from_errno(errno, "cannot write " + what);
}

Manifest read_manifest(const std::string& path, const std::string& name) {
    try {
        return decode<Manifest>(parse_json(read_file(path + "/manifest.json", most_manifest)),
                                Unknown::ignore);
    } catch (const std::system_error& error) {
        if (error.code().value() != ENOENT) throw;
        throw Error{Code::not_found, fmt::format("there is no snapshot '{}'", name),
                    "list them with GET …/snapshots"};
    }
}

std::int64_t stored_bytes(const fs::path& directory) {
    std::int64_t bytes = 0;
    for (const auto& entry : fs::recursive_directory_iterator(directory)) {
        struct stat info {};
        if (::lstat(entry.path().c_str(), &info) == 0 && S_ISREG(info.st_mode)) bytes += info.st_blocks * 512;
    }
    return bytes;
}

}  // namespace

/// Keeps a machine from writing to its disk for as long as it lives: its file systems are consistent and,
/// with that, the VMM paused, so that the disk's file is. What lived before goes on afterwards, also after a
/// failure.
class VmRuntime::Still {
  public:
    /// `freeze`: the file systems are to be consistent without the memory.
    Still(VmRuntime& runtime, Context& ctx, LifePtr life, bool was_paused, bool freeze)
        : vmm_(*runtime.vmm_), ctx_(ctx), life_(std::move(life)), was_paused_(was_paused) {
        if (!life_ || was_paused_) return;
        if (freeze && !life_->agent->version().empty()) {
            life_->agent->call(ctx_, agent::Method::freeze);
            frozen_ = true;
        }
        try {
            vmm_.pause(ctx_, life_->machine);
        } catch (...) {
            thaw();
            throw;
        }
    }
    ~Still() {
        if (!life_ || was_paused_ || over_) return;
        try {
            go_on();
        } catch (const std::exception& error) {
            ctx_.log(LogLevel::error, std::string("the VM could not be resumed: ") + error.what());
        }
    }
    Still(const Still&) = delete;
    Still& operator=(const Still&) = delete;

    void go_on() {
        if (!life_ || was_paused_ || over_) return;
        over_ = true;
        // Not bounded by a call that is over already.
        Alone limit(thaw_timeout);
        vmm_.resume(limit, life_->machine);
        thaw();
    }

  private:
    void thaw() noexcept {
        if (!frozen_) return;
        try {
            life_->agent->call(Alone(thaw_timeout), agent::Method::thaw);
        } catch (const std::exception&) {  // the agent thaws by itself after a time
        }
    }

    Vmm& vmm_;
    Context& ctx_;
    LifePtr life_;
    bool was_paused_;
    bool frozen_ = false;
    bool over_ = false;
};

SnapshotInfo VmRuntime::create_snapshot(Context& ctx, const Instance& instance, const SnapshotSpec& spec) {
    const ProcessHome home = ctx.processes().home();
    const VmState state = state_of(instance);
    const auto life = lives_.find(instance.id);
    const std::string top = snapshots_of(home);
    const Fd directory = directory_at(top);
    give(top, home, 0710, 0);
    const std::string path = top + "/" + spec.name;
    if (fs::exists(path))
        throw Error{Code::conflict,
                    fmt::format("VM '{}' has a snapshot '{}' already", instance.name, spec.name),
                    "choose another name, or delete it first"};
    const std::string work = top + "/" + unfinished;
    remove_tree(directory.get(), unfinished);
    const Fd made = directory_at(work);
    try {
        give(work, home, 0710, 0);
        MINIONS_FAILPOINT("vm.snapshot.before");
        Manifest manifest;
        manifest.info = {spec.name, spec.memory && life, 0, format_time(std::chrono::system_clock::now())};
        manifest.disk = state.disk;
        static_cast<Size&>(manifest) = state;
        {
            Still still(*this, ctx, life, state.paused, !manifest.info.memory);
            if (manifest.info.memory) {
                const std::string memory = work + "/memory";
                directory_at(memory);
                give(memory, home, 0700, home.uid);
                vmm_->save(ctx, life->machine, memory);
            }
            MINIONS_FAILPOINT("vm.snapshot.memory");
            copy_file(ctx, state.disk.path, work + "/disk", home);
            MINIONS_FAILPOINT("vm.snapshot.disk");
            still.go_on();
        }
        manifest.info.size_bytes = stored_bytes(work);
        write_file_atomic(work + "/manifest.json", to_json(encode(manifest)), 0600);
        ctx.check();
        if (::rename(work.c_str(), path.c_str()) != 0) throw error_from_errno(errno, "cannot make " + path);
        flush(directory, top);
        MINIONS_FAILPOINT("vm.snapshot.after");
        return manifest.info;
    } catch (...) {
        const std::exception_ptr failure = std::current_exception();
        remove_tree(directory.get(), unfinished);
        std::rethrow_exception(failure);
    }
}

std::vector<SnapshotInfo> VmRuntime::list_snapshots(Context& ctx, const Instance&) {
    std::vector<SnapshotInfo> list;
    const std::string top = snapshots_of(ctx.processes().home());
    std::error_code absent;
    for (const auto& entry : fs::directory_iterator(top, absent)) {
        const std::string name = entry.path().filename();
        if (name != unfinished) list.push_back(read_manifest(entry.path(), name).info);
    }
    std::sort(list.begin(), list.end(), [](const SnapshotInfo& a, const SnapshotInfo& b) {
        return std::tie(a.created_at, a.name) < std::tie(b.created_at, b.name);
    });
    return list;
}

InstanceFacts VmRuntime::restore_snapshot(Context& ctx, const Instance& instance, const std::string& name) {
    const ProcessHome home = ctx.processes().home();
    VmState state = state_of(instance);
    const std::string path = snapshots_of(home) + "/" + name;
    const Manifest manifest = read_manifest(path, name);
    const bool same_size =
        manifest.cpus == instance.spec.cpus && manifest.memory_mb == instance.spec.memory_mb;
    if (manifest.info.memory && !same_size)
        throw Error{
            Code::conflict,
            fmt::format("VM '{}' has been resized since the snapshot '{}'", instance.name, name),
            fmt::format("resize it to cpus {} and memory_mb {} first", manifest.cpus, manifest.memory_mb)};
    // Everything that can fail for want of space comes before the old life is given up.
    const std::string next = home.directory + "/disk.new";
    ::unlink(next.c_str());
    copy_file(ctx, path + "/disk", next, home);
    try {
        ctx.check();
        MINIONS_FAILPOINT("vm.restore.before");
        finish(ctx, instance);
        MINIONS_FAILPOINT("vm.restore.ended");
        if (::rename(next.c_str(), state.disk.path.c_str()) != 0)
            throw error_from_errno(errno, "cannot put the disk back");
    } catch (...) {
        const std::exception_ptr failure = std::current_exception();
        ::unlink(next.c_str());
        std::rethrow_exception(failure);
    }
    MINIONS_FAILPOINT("vm.restore.disk");
    if (!manifest.info.memory) return facts(state, Status::stopped);
    static_cast<Size&>(state) = manifest;
    return boot(ctx, instance, state, path + "/memory");
}

void VmRuntime::delete_snapshot(Context& ctx, const Instance&, const std::string& name) {
    const std::string top = snapshots_of(ctx.processes().home());
    std::error_code absent;
    if (!fs::exists(top, absent)) return;
    const Fd directory = directory_at(top);
    remove_tree(directory.get(), name);
    flush(directory, top);
}

RuntimeState VmRuntime::copy(Context& ctx, const Instance&, const Instance& source) {
    const VmState from = state_of(source);
    VmState state;
    state.image = ctx.images().acquire(from.image.id);
    const ProcessHome home = ctx.processes().home();
    state.disk = from.disk;
    state.disk.path = home.directory + "/" + fs::path(from.disk.path).filename().string();
    ::unlink(state.disk.path.c_str());
    Still still(*this, ctx, lives_.find(source.id), from.paused, true);
    MINIONS_FAILPOINT("vm.copy.before");
    copy_file(ctx, from.disk.path, state.disk.path, home);
    MINIONS_FAILPOINT("vm.copy.after");
    still.go_on();
    return state.encoded();
}

}  // namespace minions::vmkit
