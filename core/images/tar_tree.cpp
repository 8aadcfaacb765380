#include "core/images/tar_tree.hpp"

#include <minions/base/fd.hpp>
#include <minions/base/files.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <system_error>
#include <vector>

namespace minions::core {

namespace {

constexpr int folder = O_RDONLY | O_DIRECTORY;

class Extraction {
  public:
    explicit Extraction(int root) : root_(root) {}

    void add(TarReader& reader, const TarEntry& entry) {
        if (entry.name.empty()) {
            settle(root_, entry, "/");
            return;
        }
        const std::size_t slash = entry.name.rfind('/');
        const std::string name = slash == std::string::npos ? entry.name : entry.name.substr(slash + 1);
        const Fd parent = directory_at(slash == std::string::npos ? "" : entry.name.substr(0, slash));
        switch (entry.type) {
            case TarEntry::Type::directory:
                add_directory(parent.get(), name, entry);
                break;
            case TarEntry::Type::file:
                add_file(reader, parent.get(), name, entry);
                break;
            case TarEntry::Type::symlink:
                make_room(parent.get(), name, entry);
                if (::symlinkat(entry.link.c_str(), parent.get(), name.c_str()) != 0 ||
                    ::fchownat(parent.get(), name.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0)
                    fail(entry);
                break;
            case TarEntry::Type::hardlink:
                add_hardlink(parent.get(), name, entry);
                break;
        }
    }

  private:
    [[noreturn]] static void fail(const TarEntry& entry) {
        throw error_from_errno(errno, fmt::format("cannot extract '{}'", entry.name));
    }

    /// A directory of the tree, made where the archive did not name it.
    Fd directory_at(const std::string& path) {
        if (path.empty()) return duplicate(root_);
        try {
            return open_in_root(root_, path, folder);
        } catch (const std::system_error& error) {
            if (error.code().value() != ENOENT)
                throw TarError("the archive has entries below '" + path + "'");
        }
        const std::size_t slash = path.rfind('/');
        const Fd parent = directory_at(slash == std::string::npos ? "" : path.substr(0, slash));
        const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
        // EEXIST: a link that leads nowhere, which the second look refuses.
        if (::mkdirat(parent.get(), name.c_str(), 0755) != 0 && errno != EEXIST)
            throw error_from_errno(errno, fmt::format("cannot extract '{}'", path));
        return open_in_root(root_, path, folder);
    }

    /// An archive may hold a name twice; the last one counts.
    static void make_room(int parent, const std::string& name, const TarEntry& entry) {
        if (::unlinkat(parent, name.c_str(), 0) != 0 && errno != ENOENT) fail(entry);
    }

    static void settle(int fd, const TarEntry& entry, const char* what) {
        const timespec times[2] = {{entry.mtime, 0}, {entry.mtime, 0}};
        // The mode after the owner, whose change takes set-user-id bits away.
        if (::fchown(fd, entry.uid, entry.gid) != 0 || ::fchmod(fd, entry.mode) != 0 ||
            ::futimens(fd, times) != 0)
            throw error_from_errno(errno, fmt::format("cannot extract '{}'", what));
    }

    static void add_directory(int parent, const std::string& name, const TarEntry& entry) {
        if (::mkdirat(parent, name.c_str(), 0755) != 0 && errno != EEXIST) fail(entry);
        const Fd made(::openat(parent, name.c_str(), folder | O_NOFOLLOW | O_CLOEXEC));
        if (!made) fail(entry);
        settle(made.get(), entry, entry.name.c_str());
    }

    static void add_file(TarReader& reader, int parent, const std::string& name, const TarEntry& entry) {
        make_room(parent, name, entry);
        const Fd file(
            ::openat(parent, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
        if (!file) fail(entry);
        SparseWriter writer(file.get(), entry.size);
        std::vector<char> buffer(std::size_t{64} << 10U);
        for (std::size_t got = 0; (got = reader.read(buffer.data(), buffer.size())) > 0;)
            writer.write({buffer.data(), got});
        writer.finish();
        settle(file.get(), entry, entry.name.c_str());
    }

    void add_hardlink(int parent, const std::string& name, const TarEntry& entry) {
        if (entry.link == entry.name) return;
        make_room(parent, name, entry);
        const std::size_t slash = entry.link.rfind('/');
        const Fd from = directory_at(slash == std::string::npos ? "" : entry.link.substr(0, slash));
        const std::string target = slash == std::string::npos ? entry.link : entry.link.substr(slash + 1);
        if (::linkat(from.get(), target.c_str(), parent, name.c_str(), 0) != 0) fail(entry);
    }

    int root_;
};

}  // namespace

TreeSize extract_system(const TarReader::Source& source, int directory, const TarLimits& limits,
                        const StillWanted& still_wanted) {
    constexpr std::uint64_t block = 4096;
    TarReader reader(source, limits, TarContents::system);
    Extraction extraction(directory);
    TreeSize size;
    while (const auto entry = reader.next()) {
        if (still_wanted) still_wanted(size.bytes);
        extraction.add(reader, *entry);
        size.bytes += (entry->size + block - 1) / block * block;
        size.entries += 1;
    }
    if (size.entries == 0) throw TarError("the archive is empty");
    return size;
}

}  // namespace minions::core
