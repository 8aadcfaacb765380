#include <minions/base/fd.hpp>
#include <minions/base/tar.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <system_error>

namespace minions {
namespace {

constexpr std::size_t block_size = 512;
constexpr std::uint64_t most_ustar_size = 077777777777ULL;
constexpr int most_depth = 256;

[[noreturn]] void fail(const std::string& what) {
    throw TarError(what + ": " + std::generic_category().message(errno));
}

void put_octal(char* field, std::size_t size, std::uint64_t value) {
    field[--size] = '\0';
    while (size > 0) {
        field[--size] = static_cast<char>('0' + (value & 7U));
        value >>= 3U;
    }
}

/// "<length> <key>=<value>\n", where the length counts itself.
std::string pax_record(const std::string& key, const std::string& value) {
    const std::size_t rest = key.size() + value.size() + 3;
    std::size_t size = rest + 1;
    while (rest + std::to_string(size).size() != size) ++size;
    return std::to_string(size) + " " + key + "=" + value + "\n";
}

std::vector<std::string> sorted_names(int directory, const std::string& path) {
    const int copy = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(copy < 0 ? nullptr : ::fdopendir(copy), ::closedir);
    if (!stream) fail("cannot read the directory '" + path + "'");
    std::vector<std::string> names;
    for (errno = 0; const dirent* entry = ::readdir(stream.get()); errno = 0) {
        const std::string name = entry->d_name;
        if (name != "." && name != "..") names.push_back(name);
    }
    if (errno != 0) fail("cannot read the directory '" + path + "'");
    std::sort(names.begin(), names.end());
    return names;
}

bool excluded(const std::string& name, const std::string& path, const TreeOptions& options) {
    return std::any_of(options.exclude.begin(), options.exclude.end(),
                       [&](const std::string& each) { return each == name || each == "/" + path; });
}

}  // namespace

TarWriter::TarWriter(Sink sink, TarLimits limits) : sink_(std::move(sink)), left_(limits) {}

void TarWriter::pad(std::uint64_t size) {
    static const char zeros[block_size] = {};
    if (size % block_size != 0) sink_({zeros, block_size - size % block_size});
}

void TarWriter::write_block(const std::string& name, char type, std::uint64_t size, mode_t mode,
                            std::int64_t mtime, const std::string& link) {
    char block[block_size] = {};
    std::memcpy(block, name.data(), std::min<std::size_t>(name.size(), 100));
    put_octal(block + 100, 8, mode & 07777U);
    put_octal(block + 108, 8, 0);
    put_octal(block + 116, 8, 0);
    put_octal(block + 124, 12, std::min(size, most_ustar_size));
    put_octal(block + 136, 12,
              static_cast<std::uint64_t>(std::clamp<std::int64_t>(mtime, 0, most_ustar_size)));
    block[156] = type;
    std::memcpy(block + 157, link.data(), std::min<std::size_t>(link.size(), 100));
    std::memcpy(block + 257,
                "ustar\0"
                "00",
                8);
    std::memset(block + 148, ' ', 8);
    unsigned sum = 0;
    for (const char each : block) sum += static_cast<unsigned char>(each);
    put_octal(block + 148, 7, sum);
    sink_({block, block_size});
}

void TarWriter::add_header(const std::string& name, char type, std::uint64_t size, mode_t mode,
                           std::int64_t mtime, const std::string& link) {
    if (left_.max_entries-- == 0) {
        left_.max_entries = 0;
        throw TarError("the tree has more entries than allowed");
    }
    if (size > left_.max_bytes)
        throw TarError("the tree has more bytes than allowed, reached at '" + name + "'");
    left_.max_bytes -= size;
    std::string records;
    if (name.size() > 100) records += pax_record("path", name);
    if (link.size() > 100) records += pax_record("linkpath", link);
    if (size > most_ustar_size) records += pax_record("size", std::to_string(size));
    if (!records.empty()) {
        write_block("PaxHeaders/entry", 'x', records.size(), 0644, 0, "");
        sink_(records);
        pad(records.size());
    }
    write_block(name, type, size, mode, mtime, link);
}

void TarWriter::add_file(const std::string& name, std::string_view contents, mode_t mode,
                         std::int64_t mtime) {
    add_header(name, '0', contents.size(), mode, mtime, "");
    sink_(contents);
    pad(contents.size());
}

void TarWriter::add_directory(const std::string& name, mode_t mode, std::int64_t mtime) {
    add_header(name + "/", '5', 0, mode, mtime, "");
}

void TarWriter::add_symlink(const std::string& name, const std::string& target, std::int64_t mtime) {
    add_header(name, '2', 0, 0777, mtime, target);
}

void TarWriter::add_open_file(int file, const std::string& name, std::uint64_t size, mode_t mode,
                              std::int64_t mtime) {
    add_header(name, '0', size, mode, mtime, "");
    std::vector<char> buffer(65536);
    for (std::uint64_t left = size; left > 0;) {
        const ssize_t got = ::read(file, buffer.data(), std::min<std::uint64_t>(left, buffer.size()));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail("cannot read '" + name + "'");
        if (got == 0) throw TarError("'" + name + "' became shorter while it was read");
        sink_({buffer.data(), static_cast<std::size_t>(got)});
        left -= static_cast<std::uint64_t>(got);
    }
    pad(size);
}

void TarWriter::add_tree(int directory, const TreeOptions& options) { add_level(directory, "", options, 0); }

void TarWriter::add_path(int directory, const std::string& name, const TreeOptions& options) {
    add_entry(directory, name, name, options, 0);
}

void TarWriter::add_level(int directory, const std::string& prefix, const TreeOptions& options, int depth) {
    if (depth > most_depth) throw TarError("the tree is deeper than 256 directories");
    for (const std::string& name : sorted_names(directory, prefix)) {
        if (!excluded(name, prefix + name, options))
            add_entry(directory, name, prefix + name, options, depth);
    }
}

void TarWriter::add_entry(int directory, const std::string& name, const std::string& path,
                          const TreeOptions& options, int depth) {
    // O_PATH first: opening a FIFO or a device would block or have effects.
    const Fd handle(::openat(directory, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat info {};
    if (!handle || ::fstat(handle.get(), &info) != 0) fail("cannot open '" + path + "'");
    const std::int64_t mtime = options.mtime.value_or(info.st_mtime);
    if (S_ISLNK(info.st_mode)) {
        char target[4096];
        const ssize_t size = ::readlinkat(handle.get(), "", target, sizeof target);
        if (size < 0) fail("cannot read the link '" + path + "'");
        add_symlink(path, std::string(target, static_cast<std::size_t>(size)), mtime);
        return;
    }
    if (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode)) return;
    const bool is_directory = S_ISDIR(info.st_mode);
    const int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | (is_directory ? O_DIRECTORY : 0);
    const Fd opened(::openat(directory, name.c_str(), flags));
    struct stat now {};
    if (!opened || ::fstat(opened.get(), &now) != 0) fail("cannot open '" + path + "'");
    if (now.st_ino != info.st_ino || now.st_dev != info.st_dev) {
        throw TarError("'" + path + "' was replaced while it was read");
    }
    if (is_directory) {
        add_directory(path, now.st_mode, mtime);
        add_level(opened.get(), path + "/", options, depth + 1);
    } else {
        add_open_file(opened.get(), path, static_cast<std::uint64_t>(now.st_size), now.st_mode, mtime);
    }
}

void TarWriter::finish() {
    const std::string end(2 * block_size, '\0');
    sink_(end);
}

}  // namespace minions
