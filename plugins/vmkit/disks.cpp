#include "plugins/vmkit/disks.hpp"

#include "plugins/vmkit/qcow2.hpp"

#include <minions/base/fd.hpp>
#include <minions/error.hpp>

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

namespace minions::vmkit {

namespace {

/// What is copied between two looks at whether the call should end.
constexpr std::size_t piece = std::size_t{16} << 20U;

Fd open_source(const std::string& path) {
    Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!file) throw error_from_errno(errno, "cannot open " + path);
    return file;
}

Fd make_target(const std::string& path) {
    Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file) throw error_from_errno(errno, "cannot make " + path);
    return file;
}

void give(int file, const ProcessHome& owner) {
    if (::geteuid() != 0) return;  // it is the daemon's own user already
    if (::fchown(file, static_cast<uid_t>(owner.uid), static_cast<gid_t>(owner.gid)) != 0)
        throw error_from_errno(errno, "cannot give a disk to the machine's user");
}

std::uint64_t size_of(const Fd& file) {
    struct stat info {};
    if (::fstat(file.get(), &info) != 0) throw error_from_errno(errno, "cannot look at a disk");
    return static_cast<std::uint64_t>(info.st_size);
}

/// False where the file system cannot share blocks between the two.
bool reflink(const Fd& from, const Fd& to) {
    if (::ioctl(to.get(), FICLONE, from.get()) == 0) return true;
    if (errno == ENOSPC || errno == EDQUOT) throw error_from_errno(errno, "cannot copy a disk");
    return false;
}

void copy_range(const Context& ctx, const Fd& from, const Fd& to, off_t at, off_t end) {
    while (at < end) {
        ctx.check();
        off_t out = at;
        const auto wanted = std::min<std::size_t>(piece, static_cast<std::size_t>(end - at));
        const ssize_t put = ::copy_file_range(from.get(), &at, to.get(), &out, wanted, 0);
        if (put < 0 && errno != EINTR) throw error_from_errno(errno, "cannot copy a disk");
        if (put == 0) return;  // it became shorter
    }
}

void copy_data(const Context& ctx, const Fd& from, const Fd& to) {
    const auto size = static_cast<off_t>(size_of(from));
    if (::ftruncate(to.get(), size) != 0) throw error_from_errno(errno, "cannot copy a disk");
    for (off_t at = 0; at < size;) {
        const off_t data = ::lseek(from.get(), at, SEEK_DATA);
        if (data < 0 && errno == ENXIO) break;  // a hole up to the end
        if (data < 0) throw error_from_errno(errno, "cannot read a disk");
        const off_t hole = ::lseek(from.get(), data, SEEK_HOLE);
        if (hole < 0) throw error_from_errno(errno, "cannot read a disk");
        copy_range(ctx, from, to, data, hole);
        at = hole;
    }
}

}  // namespace

Disk make_disk(const ProcessHome& home, const VmImage& image, std::uint64_t bytes) {
    const std::uint64_t size = std::max(bytes, static_cast<std::uint64_t>(image.disk_bytes));
    Disk disk{home.directory + "/disk.raw", Disk::Format::raw, false};
    ::unlink(disk.path.c_str());
    try {
        const Fd from = open_source(image.disk);
        const Fd to = make_target(disk.path);
        if (reflink(from, to)) {
            if (::ftruncate(to.get(), static_cast<off_t>(size)) != 0)
                throw error_from_errno(errno, "cannot make the disk");
            give(to.get(), home);
            return disk;
        }
    } catch (...) {
        ::unlink(disk.path.c_str());
        throw;
    }
    ::unlink(disk.path.c_str());
    disk = {home.directory + "/disk.qcow2", Disk::Format::qcow2, true};
    ::unlink(disk.path.c_str());
    make_qcow2(disk.path, size, image.disk);
    give(open_source(disk.path).get(), home);
    return disk;
}

std::uint64_t disk_bytes(const Disk& disk) {
    return disk.format == Disk::Format::qcow2 ? qcow2_size(disk.path) : size_of(open_source(disk.path));
}

void grow_disk(const Disk& disk, std::uint64_t bytes) {
    if (bytes <= disk_bytes(disk)) return;
    if (disk.format == Disk::Format::qcow2) return grow_qcow2(disk.path, bytes);
    if (::truncate(disk.path.c_str(), static_cast<off_t>(bytes)) != 0)
        throw error_from_errno(errno, "cannot make the disk larger");
}

void copy_file(const Context& ctx, const std::string& from, const std::string& to, const ProcessHome& owner) {
    const Fd source = open_source(from);
    const Fd target = make_target(to);
    try {
        if (!reflink(source, target)) copy_data(ctx, source, target);
        give(target.get(), owner);
        if (::fsync(target.get()) != 0) throw error_from_errno(errno, "cannot write " + to);
    } catch (...) {
        ::unlink(to.c_str());
        throw;
    }
}

}  // namespace minions::vmkit
