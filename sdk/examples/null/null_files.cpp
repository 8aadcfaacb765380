#include "tar_text.hpp"

namespace minions::examples {
namespace {

constexpr std::size_t max_archive_bytes = std::size_t{256} << 20;

/// "/a/b" of "/a/b/", "//a/./b". Throws invalid for what is not absolute or leads upwards.
std::string absolute(const std::string& path) {
    if (path.empty() || path[0] != '/') {
        throw Error(Code::invalid, "the path '" + path + "' is not absolute", "start it with a slash");
    }
    std::string clean;
    for (std::size_t at = 0; at < path.size();) {
        const std::size_t end = std::min(path.find('/', at), path.size());
        const std::string part = path.substr(at, end - at);
        if (part == "..") throw Error(Code::invalid, "the path '" + path + "' leads upwards");
        if (!part.empty() && part != ".") clean += "/" + part;
        at = end + 1;
    }
    return clean;
}

}  // namespace

void NullRuntime::read_files(Context& ctx, const Instance& instance, const std::string& path, Fd out) {
    misbehave(ctx, "read_files", instance.spec.labels);
    const auto held = find(instance.id);
    const std::string wanted = absolute(path);
    const std::size_t parent = wanted.rfind('/') + 1;  // entries are named from the last part of the path on
    std::map<std::string, NullFile> entries;
    {
        const auto life = held->life.lock();
        for (const auto& [name, file] : life->files) {
            if (name == wanted || name.starts_with(wanted + "/"))
                entries[name.substr(wanted.empty() ? 1 : parent)] = file;
        }
    }
    if (entries.empty()) throw Error(Code::not_found, "there is no file '" + path + "' in the instance");
    write_to(ctx, out, write_tar(entries));
}

void NullRuntime::write_files(Context& ctx, const Instance& instance, const std::string& path, Fd in) {
    misbehave(ctx, "write_files", instance.spec.labels);
    const auto held = find(instance.id);
    const std::string below = absolute(path);
    std::string archive;
    for (std::string piece = read_from(ctx, in); !piece.empty(); piece = read_from(ctx, in)) {
        archive += piece;
        if (archive.size() > max_archive_bytes)
            throw Error(Code::too_large, "the archive is larger than 256 MiB");
    }
    auto entries = read_tar(archive);
    std::map<std::string, NullFile> placed;
    for (auto& [name, file] : entries) placed[absolute(below + "/" + name)] = std::move(file);
    const auto life = held->life.lock();
    for (auto& [name, file] : placed) life->files[name] = std::move(file);
}

SnapshotInfo NullRuntime::create_snapshot(Context& ctx, const Instance& instance, const SnapshotSpec& spec) {
    misbehave(ctx, "create_snapshot", instance.spec.labels);
    const auto held = find(instance.id);
    const auto life = held->life.lock();
    NullSnapshot snapshot;
    const bool alive = life->status == Status::running || life->status == Status::paused;
    snapshot.info = {
        .name = spec.name, .memory = spec.memory && alive, .size_bytes = 0, .created_at = utc_now()};
    snapshot.status = snapshot.info.memory ? Status::running : Status::stopped;
    snapshot.files = life->files;
    for (const auto& [name, file] : snapshot.files) {
        snapshot.info.size_bytes += static_cast<std::int64_t>(file.content.size());
    }
    const SnapshotInfo info = snapshot.info;
    if (!life->snapshots.emplace(spec.name, std::move(snapshot)).second) {
        throw Error(Code::conflict, "the instance has a snapshot '" + spec.name + "' already",
                    "choose another name");
    }
    return info;
}

std::vector<SnapshotInfo> NullRuntime::list_snapshots(Context& ctx, const Instance& instance) {
    misbehave(ctx, "list_snapshots", instance.spec.labels);
    const auto held = find(instance.id);
    const auto life = held->life.lock();
    std::vector<SnapshotInfo> list;
    for (const auto& [name, snapshot] : life->snapshots) list.push_back(snapshot.info);
    return list;
}

InstanceFacts NullRuntime::restore_snapshot(Context& ctx, const Instance& instance, const std::string& name) {
    misbehave(ctx, "restore_snapshot", instance.spec.labels);
    const auto held = find(instance.id);
    {
        const auto life = held->life.lock();
        const auto found = life->snapshots.find(name);
        if (found == life->snapshots.end()) {
            throw Error(Code::not_found, "the instance has no snapshot '" + name + "'");
        }
        life->files = found->second.files;
        life->status = found->second.status;
        life->boot = instance.boot;
        life->exit_code.reset();
        life->started = std::chrono::steady_clock::now();
        life->wake();
    }
    save(*held);
    return held->facts();
}

void NullRuntime::delete_snapshot(Context& ctx, const Instance& instance, const std::string& name) {
    misbehave(ctx, "delete_snapshot", instance.spec.labels);
    find(instance.id)->life.lock()->snapshots.erase(name);
}

}  // namespace minions::examples
