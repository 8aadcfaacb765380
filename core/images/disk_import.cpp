#include "core/images/disk_import.hpp"

#include "core/images/image_files.hpp"
#include "core/images/tar_tree.hpp"

#include <minions/base/fd.hpp>
#include <minions/base/spawn.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace minions::core {

namespace {

namespace fs = std::filesystem;

struct FormatWord {
    DiskFormat format;
    std::string_view word;
};
constexpr FormatWord format_words[] = {{DiskFormat::raw, "raw"},
                                       {DiskFormat::qcow2, "qcow2"},
                                       {DiskFormat::tar, "tar"},
                                       {DiskFormat::tar_gz, "tar.gz"},
                                       {DiskFormat::tar_zst, "tar.zst"}};

bool has_at(std::string_view head, std::size_t at, std::string_view magic) {
    return head.size() >= at + magic.size() && head.substr(at, magic.size()) == magic;
}

std::uint64_t big_endian(std::string_view head, std::size_t at, std::size_t size) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < size; ++i) value = value << 8U | static_cast<unsigned char>(head[at + i]);
    return value;
}

/// Who programs run as that read what strangers sent.
std::optional<Identity> no_rights() {
    if (::geteuid() != 0) return std::nullopt;
    passwd entry{};
    passwd* found = nullptr;
    std::array<char, 4096> buffer{};
    ::getpwnam_r("nobody", &entry, buffer.data(), buffer.size(), &found);
    return found == nullptr ? Identity{65534, 65534, {}} : Identity{entry.pw_uid, entry.pw_gid, {}};
}

Fd open_or_throw(const fs::path& path, int flags, mode_t mode = 0) {
    Fd file(::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, mode));
    if (!file) throw error_from_errno(errno, fmt::format("cannot open {}", path.string()));
    return file;
}

/// Runs one of our helpers to its end. `package` has it where it is missing.
void run_program(OperationContext& context, SpawnOptions options, const char* package) {
    const std::string name = options.argv.front();
    options.env = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"};
    options.cwd = "/";
    RunResult result;
    try {
        result = run(std::move(options), {context.deadline(), std::size_t{64} << 10U, context.cancel_fd()});
    } catch (const std::system_error& error) {
        if (error.code().value() != ENOENT) throw;
        throw Error{Code::unavailable, fmt::format("the program '{}' is missing", name),
                    fmt::format("install the package {}", package)};
    }
    context.check();
    if (result.success()) return;
    std::string said = result.err.substr(0, result.err.find('\n'));
    throw Error{Code::failed,
                fmt::format("{} failed: {}", name, said.empty() ? result.status.to_string() : said)};
}

void from_raw(const fs::path& source, const fs::path& disk) {
    constexpr std::int64_t sector = 512;
    const auto stamp = file_stamp(source);
    if (!stamp || stamp->bytes == 0) throw Error{Code::invalid, "the disk is empty"};
    const std::int64_t size = (stamp->bytes + sector - 1) / sector * sector;
    if (::truncate(source.c_str(), size) != 0 || ::rename(source.c_str(), disk.c_str()) != 0)
        throw error_from_errno(errno, "cannot keep the disk");
}

void from_qcow2(OperationContext& context, const fs::path& source, const fs::path& disk,
                std::uint64_t max_bytes) {
    Fd in = open_or_throw(source, O_RDONLY);
    std::array<char, disk_head_bytes> head{};
    const ssize_t got = ::pread(in.get(), head.data(), head.size(), 0);
    const std::uint64_t size = check_qcow2({head.data(), got < 0 ? 0 : static_cast<std::size_t>(got)});
    if (size > max_bytes)
        throw Error{Code::too_large, fmt::format("the disk has {} bytes", size), "raise images.max_bytes"};
    Fd out = open_or_throw(disk, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (::ftruncate(out.get(), static_cast<off_t>(size)) != 0)
        throw error_from_errno(errno, "cannot make the disk");
    SpawnOptions options;
    options.identity = no_rights();
    if (options.identity && (::fchown(in.get(), options.identity->uid, static_cast<gid_t>(-1)) != 0 ||
                             ::fchown(out.get(), options.identity->uid, static_cast<gid_t>(-1)) != 0))
        throw error_from_errno(errno, "cannot hand the disk to qemu-img");
    // By descriptor: the directories above are closed to who it runs as.
    options.argv = {
        "qemu-img",        "convert",        "-n", "--target-is-zero", "-f", "qcow2", "-O", "raw", "-S4k",
        "/proc/self/fd/3", "/proc/self/fd/4"};
    options.limits.push_back({RLIMIT_AS, {rlim_t{2} << 30U, rlim_t{2} << 30U}});
    options.fds.emplace_back(3, std::move(in));
    options.fds.emplace_back(4, std::move(out));
    run_program(context, std::move(options), "qemu-utils");
    if (::chown(disk.c_str(), ::geteuid(), ::getegid()) != 0)
        throw error_from_errno(errno, "cannot keep the disk");
    ::unlink(source.c_str());
}

/// The archive's bytes, through a program that unpacks them where they are packed.
class ArchiveSource {
  public:
    ArchiveSource(const fs::path& source, DiskFormat format) : file_(open_or_throw(source, O_RDONLY)) {
        if (format == DiskFormat::tar) return;
        const bool zst = format == DiskFormat::tar_zst;
        SpawnOptions options;
        options.argv = {zst ? "zstd" : "gzip", "-dc"};
        options.env = {"PATH=/usr/bin:/bin"};
        options.cwd = "/";
        options.identity = no_rights();
        options.limits.push_back({RLIMIT_AS, {rlim_t{1} << 30U, rlim_t{1} << 30U}});
        options.in = Stdio(std::move(file_));
        FdPair pipe = make_pipe();
        options.out = Stdio(std::move(pipe.second));
        try {
            program_ = spawn(std::move(options));
        } catch (const std::system_error& error) {
            if (error.code().value() != ENOENT) throw;
            throw Error{Code::unavailable, fmt::format("the program '{}' is missing", zst ? "zstd" : "gzip"),
                        fmt::format("install the package {}", zst ? "zstd" : "gzip")};
        }
        file_ = std::move(pipe.first);
    }

    std::size_t read(char* data, std::size_t size) {
        for (;;) {
            const ssize_t got = ::read(file_.get(), data, size);
            if (got >= 0) return static_cast<std::size_t>(got);
            if (errno != EINTR) throw error_from_errno(errno, "cannot read the archive");
        }
    }

    /// After the archive's end: the rest is padding, or a sign that the packing is broken.
    void finish() {
        if (!program_) return;
        std::array<char, 65536> rest{};
        while (read(rest.data(), rest.size()) > 0) {
        }
        const auto status = program_.wait();
        if (!status || !status->success())
            throw Error{Code::invalid, "the archive is damaged: it cannot be unpacked to its end"};
    }

  private:
    Fd file_;
    Process program_;
};

void make_file_system(OperationContext& context, const fs::path& tree, const TreeSize& size,
                      const fs::path& disk, std::uint64_t max_bytes) {
    constexpr std::uint64_t mib = std::uint64_t{1} << 20U;
    const std::uint64_t mebibytes = (size.bytes + size.bytes / 5) / mib + size.entries / 200 + 64;
    if (mebibytes * mib > max_bytes)
        throw Error{Code::too_large, fmt::format("the files need a disk of {} MiB", mebibytes),
                    "raise images.max_bytes"};
    const Fd made = open_or_throw(disk, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (::ftruncate(made.get(), static_cast<off_t>(mebibytes * mib)) != 0)
        throw error_from_errno(errno, "cannot make the disk");
    SpawnOptions options;
    // Room for the descriptors of 64 GiB: growing reads and writes all of it, and goes on beyond (meta_bg).
    options.argv = {"mke2fs",  "-q",   "-F",   "-t",
                    "ext4",    "-b",   "4096", "-m",
                    "1",       "-J",
                    "size=16",  // growing takes larger transactions than a small disk's journal holds
                    "-L",      "root", "-E",   "resize=16777216,lazy_itable_init=1",
                    "-d",      tree,   disk};
    run_program(context, std::move(options), "e2fsprogs");
}

void from_archive(OperationContext& context, const fs::path& source, DiskFormat format, const fs::path& disk,
                  std::uint64_t max_bytes) {
    if (::geteuid() != 0)
        throw Error{Code::unavailable,
                    "the daemon is not root, so it cannot keep the owners of an archive's files",
                    "import a disk (raw or qcow2), or run the daemon as root"};
    const fs::path tree = source.parent_path() / "tree";
    if (::mkdir(tree.c_str(), 0755) != 0) throw error_from_errno(errno, "cannot extract the archive");
    const Fd directory = open_or_throw(tree, O_RDONLY | O_DIRECTORY);
    TreeSize size;
    try {
        ArchiveSource archive(source, format);
        TarLimits limits;
        limits.max_bytes = max_bytes;
        limits.max_entries = 2'000'000;
        size = extract_system(
            [&](char* data, std::size_t room) {
                context.check();
                return archive.read(data, room);
            },
            directory.get(), limits,
            [&](std::uint64_t done) {
                context.check();
                context.progress({"extracting", {}, static_cast<std::int64_t>(done), {}});
            });
        archive.finish();
    } catch (const TarError& error) {
        throw Error{Code::invalid, error.what()};
    } catch (const std::system_error& error) {
        throw error_from_errno(error.code().value(), error.what());
    }
    ::unlink(source.c_str());
    context.progress({"making the disk", {}, {}, {}});
    make_file_system(context, tree, size, disk, max_bytes);
}

}  // namespace

std::optional<DiskFormat> disk_format_from_word(std::string_view word) {
    for (const auto& each : format_words)
        if (each.word == word) return each.format;
    return std::nullopt;
}

std::string_view word_of(DiskFormat format) noexcept {
    return std::find_if(std::begin(format_words), std::end(format_words),
                        [&](const FormatWord& each) { return each.format == format; })
        ->word;
}

std::optional<DiskFormat> detect_disk_format(std::string_view head) {
    using namespace std::string_view_literals;
    if (has_at(head, 0, "QFI\xfb"sv)) return DiskFormat::qcow2;
    if (has_at(head, 0, "\x1f\x8b"sv)) return DiskFormat::tar_gz;
    if (has_at(head, 0, "\x28\xb5\x2f\xfd"sv)) return DiskFormat::tar_zst;
    if (has_at(head, 257, "ustar"sv)) return DiskFormat::tar;
    if (has_at(head, 510, "\x55\xaa"sv) || has_at(head, 1080, "\x53\xef"sv)) return DiskFormat::raw;
    return std::nullopt;
}

std::uint64_t check_qcow2(std::string_view head) {
    // docs/interop/qcow2.txt of QEMU: version at 4, backing file's offset at 8, size at 24, encryption at 32,
    // and from version 3 on the incompatible features at 72, of which bit 2 is the external data file.
    constexpr std::uint64_t external_data = 4;
    if (head.size() < 104 || !detect_disk_format(head) || big_endian(head, 0, 4) != 0x514649fb)
        throw Error{Code::invalid, "the disk is no qcow2 image"};
    const std::uint64_t version = big_endian(head, 4, 4);
    if (version != 2 && version != 3)
        throw Error{Code::invalid, fmt::format("the disk is a qcow2 image of version {}", version)};
    if (big_endian(head, 8, 8) != 0)
        throw Error{Code::invalid, "the qcow2 image has a backing file",
                    "make one that stands by itself: qemu-img convert -O qcow2 OLD NEW"};
    if (version == 3 && (big_endian(head, 72, 8) & external_data) != 0)
        throw Error{Code::invalid, "the qcow2 image keeps its data in another file",
                    "make one that stands by itself: qemu-img convert -O qcow2 OLD NEW"};
    if (big_endian(head, 32, 4) != 0) throw Error{Code::invalid, "the qcow2 image is encrypted"};
    const std::uint64_t size = big_endian(head, 24, 8);
    if (size == 0 || size > (std::uint64_t{1} << 62U))
        throw Error{Code::invalid, "the qcow2 image has no size that makes sense"};
    return size;
}

void import_disk(OperationContext& context, const fs::path& source, DiskFormat format, const fs::path& disk,
                 std::uint64_t max_bytes) {
    switch (format) {
        case DiskFormat::raw:
            context.progress({"keeping the disk", {}, {}, {}});
            return from_raw(source, disk);
        case DiskFormat::qcow2:
            context.progress({"converting", {}, {}, {}});
            return from_qcow2(context, source, disk, max_bytes);
        default:
            return from_archive(context, source, format, disk, max_bytes);
    }
}

}  // namespace minions::core
