#include "plugins/vmkit/qcow2.hpp"

#include <minions/base/fd.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <string_view>
#include <vector>

namespace minions::vmkit {

namespace {

constexpr std::uint32_t magic = 0x514649fb;
constexpr std::uint32_t backing_format_extension = 0xe2792aca;
constexpr std::uint64_t cluster = std::uint64_t{1} << 16U;
/// What one entry of the first-level table covers.
constexpr std::uint64_t covered_by_entry = cluster * (cluster / 8);
/// The table has room for the largest disk from the start, as a hole: growing moves nothing.
constexpr std::uint64_t largest = std::uint64_t{64} << 40U;
constexpr std::uint64_t table_clusters = largest / covered_by_entry * 8 / cluster;

// Clusters of the file: header, refcount table, refcount block, first-level table.
constexpr std::uint64_t refcount_table_at = 1 * cluster;
constexpr std::uint64_t refcount_block_at = 2 * cluster;
constexpr std::uint64_t table_at = 3 * cluster;
constexpr std::uint64_t first_free = 3 + table_clusters;

constexpr std::size_t cluster_bits_field = 20;
constexpr std::size_t size_field = 24;
constexpr std::size_t table_size_field = 36;
constexpr std::size_t table_at_field = 40;
constexpr std::size_t header_bytes = 104;

template <class T>
void put(std::string& out, T value) {
    for (int shift = static_cast<int>(sizeof(T)) * 8 - 8; shift >= 0; shift -= 8)
        out += static_cast<char>(value >> static_cast<unsigned>(shift));
}

void write_at(const Fd& file, std::string_view bytes, std::uint64_t at) {
    const ssize_t put = ::pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (put != static_cast<ssize_t>(bytes.size()))
        throw error_from_errno(put < 0 ? errno : ENOSPC, "cannot write a disk");
}

std::uint32_t table_entries(std::uint64_t size) {
    if (size == 0 || size > largest)
        throw Error{Code::invalid, "field 'disk_gb' must be between 1 and 65536"};
    return static_cast<std::uint32_t>((size + covered_by_entry - 1) / covered_by_entry);
}

std::string header(std::uint64_t size, const std::string& backing) {
    const std::uint64_t extensions = 8 + 8 + 8;  // the format's head, "raw" padded, the end
    std::string out;
    put<std::uint32_t>(out, magic);
    put<std::uint32_t>(out, 3);                          // version
    put<std::uint64_t>(out, header_bytes + extensions);  // backing_file_offset
    put<std::uint32_t>(out, static_cast<std::uint32_t>(backing.size()));
    put<std::uint32_t>(out, 16);  // cluster_bits
    put<std::uint64_t>(out, size);
    put<std::uint32_t>(out, 0);  // crypt_method
    put<std::uint32_t>(out, table_entries(size));
    put<std::uint64_t>(out, table_at);
    put<std::uint64_t>(out, refcount_table_at);
    put<std::uint32_t>(out, 1);  // refcount_table_clusters
    put<std::uint32_t>(out, 0);  // nb_snapshots
    put<std::uint64_t>(out, 0);  // snapshots_offset
    put<std::uint64_t>(out, 0);  // incompatible_features
    put<std::uint64_t>(out, 0);  // compatible_features
    put<std::uint64_t>(out, 0);  // autoclear_features
    put<std::uint32_t>(out, 4);  // refcount_order: 16 bits
    put<std::uint32_t>(out, header_bytes);
    put<std::uint32_t>(out, backing_format_extension);
    put<std::uint32_t>(out, 3);
    out.append("raw\0\0\0\0\0", 8);
    put<std::uint64_t>(out, 0);  // the end of the extensions
    return out + backing;
}

struct Layout {
    std::uint64_t size = 0;
    std::uint64_t table_room = 0;  ///< entries that the first-level table may have where it is
};

Layout read_layout(const std::string& path) {
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!file) throw error_from_errno(errno, "cannot open the disk " + path);
    std::array<unsigned char, 48> head{};
    const auto number = [&](std::size_t at, std::size_t bytes) {
        std::uint64_t value = 0;
        for (std::size_t i = 0; i < bytes; ++i) value = value << 8U | head[at + i];
        return value;
    };
    if (::pread(file.get(), head.data(), head.size(), 0) != static_cast<ssize_t>(head.size()) ||
        number(0, 4) != magic || number(cluster_bits_field, 4) != 16)
        throw Error{Code::failed, fmt::format("{} is no disk of ours", path), "restore it from a snapshot"};
    Layout layout;
    layout.size = number(size_field, 8);
    constexpr std::uint64_t entries_in_cluster = cluster / 8;
    // A VMM that made the disk larger has moved the table to where it has the rest of its last cluster.
    const std::uint64_t entries = number(table_size_field, 4);
    layout.table_room = number(table_at_field, 8) == table_at
                            ? table_clusters * entries_in_cluster
                            : (entries + entries_in_cluster - 1) / entries_in_cluster * entries_in_cluster;
    return layout;
}

}  // namespace

void make_qcow2(const std::string& path, std::uint64_t size, const std::string& backing) {
    if (backing.size() > 1023)
        throw Error{Code::internal, "the path of an image is too long for a disk over it"};
    const std::string head = header(size, backing);
    const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file) throw error_from_errno(errno, "cannot make the disk " + path);
    try {
        write_at(file, head, 0);
        std::string table;
        put<std::uint64_t>(table, refcount_block_at);
        write_at(file, table, refcount_table_at);
        std::string counts;
        for (std::uint64_t i = 0; i < first_free; ++i) put<std::uint16_t>(counts, 1);
        write_at(file, counts, refcount_block_at);
        if (::ftruncate(file.get(), static_cast<off_t>(first_free * cluster)) != 0)
            throw error_from_errno(errno, "cannot make the disk " + path);
    } catch (...) {
        ::unlink(path.c_str());
        throw;
    }
}

std::uint64_t qcow2_size(const std::string& path) { return read_layout(path).size; }

void grow_qcow2(const std::string& path, std::uint64_t size) {
    const Layout layout = read_layout(path);
    if (size <= layout.size) return;
    const std::uint32_t entries = table_entries(size);
    if (entries > layout.table_room)
        throw Error{Code::invalid,
                    "field 'disk_gb' asks for more than this disk can grow to while the VM is stopped",
                    "resize it while the VM runs"};
    const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!file) throw error_from_errno(errno, "cannot open the disk " + path);
    // One write of neighbouring fields within a sector: size, crypt_method, l1_size.
    std::string fields;
    put<std::uint64_t>(fields, size);
    put<std::uint32_t>(fields, 0);
    put<std::uint32_t>(fields, entries);
    static_assert(size_field + 8 + 4 == table_size_field);
    write_at(file, fields, size_field);
    if (::fsync(file.get()) != 0) throw error_from_errno(errno, "cannot write the disk " + path);
}

}  // namespace minions::vmkit
