#include "core/images/image_store.hpp"

#include "core/instances/states.hpp"

#include <minions/base/files.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace minions::core {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view id_prefix = "sha256:";
constexpr std::size_t shortest_id = 12;  ///< of the hexadecimal digits, where a part of them is given
constexpr std::size_t manifest_bytes = std::size_t{16} << 20U;
/// Beside the image's files: what its disk's stamp was when its hash was right.
constexpr const char* verified_file = "verified.json";

void make_images_directory(const fs::path& path, const std::optional<gid_t>& group) {
    if (::mkdir(path.c_str(), 0710) != 0 && errno != EEXIST)
        throw error_from_errno(errno, fmt::format("cannot make the directory {}", path.string()));
    if ((group && ::chown(path.c_str(), 0, *group) != 0) || ::chmod(path.c_str(), 0710) != 0)
        throw error_from_errno(errno, fmt::format("cannot set the rights of {}", path.string()));
}

}  // namespace

/// minions::Images for one call.
class InstanceImages final : public minions::Images {
  public:
    InstanceImages(ImageStore& images, std::string instance)
        : images_(images), instance_(std::move(instance)) {}
    VmImage acquire(const std::string& name) override { return images_.acquire(instance_, name); }

  private:
    ImageStore& images_;
    std::string instance_;
};

ImageUpload::ImageUpload(std::unique_ptr<Draft> draft, std::uint64_t max_bytes)
    : draft_(std::move(draft)),
      file_(::open((draft_->path() / "upload").c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)),
      writer_(file_.get(), max_bytes) {
    if (!file_) throw error_from_errno(errno, "cannot keep the upload");
}

ImageStore::ImageStore(Store& store, Operations& operations, ImageStoreOptions options)
    : store_(store), operations_(operations), options_(std::move(options)) {
    make_images_directory(options_.directory, options_.group);
    *known_.lock() = store_.transact([](Transaction& transaction) {
        Known known;
        for (ImageRow& row : transaction.images()) {
            ImageManifest manifest = read_manifest(row.manifest);
            const std::string id = row.id;
            known.images[id] = std::make_shared<Entry>(Entry{std::move(row), std::move(manifest)});
        }
        for (ImageTagRow& row : transaction.image_tags()) {
            const std::string name = row.name;
            known.tags[name] = std::move(row);
        }
        return known;
    });
}

ImageStore::~ImageStore() = default;

fs::path ImageStore::path_of(const std::string& id) const {
    return options_.directory / id.substr(id_prefix.size());
}

std::vector<std::string> ImageStore::recover() {
    std::vector<std::string> complaints;
    const auto rows = store_.transact([](Transaction& transaction) { return transaction.journal(); });
    for (const JournalRecord& record : rows) {
        if (!record.runtime.empty() || record.row.kind != image_files_kind) continue;
        try {
            const bool image = known_.lock()->images.contains(fmt::format("{}{}", id_prefix, record.row.key));
            if (!image) remove_image_directory(options_.directory, record.row.key);
            store_.transact([&](Transaction& transaction) { transaction.delete_journal(record.row.id); });
        } catch (const Error& error) {
            complaints.push_back(error.message());
        }
    }
    const auto known = known_.lock();
    for (const auto& [id, entry] : known->images) {
        std::error_code error;
        if (!fs::is_directory(path_of(id), error))
            complaints.push_back(fmt::format("the files of the image {} are gone", id));
    }
    return complaints;
}

ImageStore::EntryPtr ImageStore::find(const std::string& name) const {
    const std::string wanted = name.empty() && options_.default_name ? options_.default_name() : name;
    if (wanted.empty())
        throw Error{Code::not_found, "no image is named, and there is no default one",
                    "name one of 'minions image list', or set images.default"};
    const auto known = known_.lock();
    const bool by_id = wanted.starts_with(id_prefix) && wanted.size() >= id_prefix.size() + shortest_id;
    if (by_id) {
        const auto found = known->images.lower_bound(wanted);
        const bool only =
            found != known->images.end() && found->first.starts_with(wanted) &&
            (std::next(found) == known->images.end() || !std::next(found)->first.starts_with(wanted));
        if (only) return found->second;
    } else if (const auto tag = known->tags.find(wanted); tag != known->tags.end()) {
        return known->images.at(tag->second.image);
    }
    throw Error{Code::not_found, fmt::format("image '{}' not found", wanted),
                "see 'minions image list'; 'minions image build' makes one"};
}

Value ImageStore::describe(const std::string& name, const Entry& entry) const {
    const auto users =
        store_.transact([&](Transaction& transaction) { return transaction.image_users(entry.row.id); });
    Value used_by = Value::array();
    for (const std::string& id : users)
        used_by.push(options_.instance_name ? options_.instance_name(id) : id);
    std::int64_t size = 0;
    std::int64_t disk = 0;
    for (const char* file : {disk_file, kernel_file, initramfs_file}) {
        struct stat info {};
        if (::stat((path_of(entry.row.id) / file).c_str(), &info) != 0) continue;
        size += info.st_blocks * 512;
        if (file == disk_file) disk = info.st_size;
    }
    std::string created = entry.row.created_at;
    {
        const auto known = known_.lock();
        if (const auto tag = known->tags.find(name); tag != known->tags.end())
            created = tag->second.created_at;
    }
    return Value::object({{"name", name},
                          {"id", entry.row.id},
                          {"size_bytes", size},
                          {"disk_bytes", disk},
                          {"created_at", created},
                          {"recipe", entry.manifest.recipe},
                          {"used_by", std::move(used_by)}});
}

Value ImageStore::list() const {
    std::vector<std::pair<std::string, EntryPtr>> named;
    {
        const auto known = known_.lock();
        for (const auto& [name, tag] : known->tags) named.emplace_back(name, known->images.at(tag.image));
    }
    Value images = Value::array();
    for (const auto& [name, entry] : named) images.push(describe(name, *entry));
    return images;
}

Value ImageStore::get(const std::string& name) const {
    const EntryPtr entry = find(name);
    Value document = describe(name, *entry);
    document.set("manifest", encode(entry->manifest));
    return document;
}

std::string ImageStore::check(const std::string& name) const {
    const std::string wanted = name.empty() && options_.default_name ? options_.default_name() : name;
    try {
        static_cast<void>(find(wanted));
    } catch (const Error& error) {
        throw Error{Code::invalid, fmt::format("field 'image': {}", error.message()), error.hint()};
    }
    return wanted;
}

void ImageStore::remember_disk(const std::string& id, const FileStamp& stamp) {
    const fs::path path = path_of(id) / disk_file;
    known_.lock()->verified[path] = stamp;
    try {
        // A reboot leaves this file or none, and none costs a look at the whole disk.
        replace_file(path_of(id) / verified_file, to_json(encode(stamp)), 0600);
    } catch (const std::system_error&) {  // NOLINT(bugprone-empty-catch): likewise
    }
}

void ImageStore::verify_file(const std::string& name, const Entry& entry, const std::string& file) {
    const fs::path path = path_of(entry.row.id) / file;
    const auto damaged = [&](const std::string& how) {
        return Error{Code::failed, fmt::format("image '{}' is damaged: its file '{}' {}", name, file, how),
                     "delete the image, and build or import it again"};
    };
    const auto stamp = file_stamp(path);
    if (!stamp) throw damaged("is gone");
    const auto is_known = [&] {
        const auto known = known_.lock();
        const auto found = known->verified.find(path);
        return found != known->verified.end() && found->second == *stamp;
    };
    if (is_known()) return;
    const std::lock_guard held(verifying_);
    if (is_known()) return;
    const bool disk = file == disk_file;
    if (disk) {
        try {
            const std::string text = read_file(path_of(entry.row.id) / verified_file, 4096);
            if (decode<FileStamp>(parse_json(text)) == *stamp) {
                known_.lock()->verified[path] = *stamp;
                return;
            }
        } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): then all of it is read
        }
    }
    if (file_sha256(path, {}) != entry.manifest.files.at(file)) throw damaged("is not what it was");
    if (file_stamp(path) != stamp) throw damaged("is being changed");
    if (disk) {
        remember_disk(entry.row.id, *stamp);
    } else {
        known_.lock()->verified[path] = *stamp;
    }
}

void ImageStore::verify(const std::string& name, const Entry& entry) {
    std::string text;
    try {
        text = read_file(path_of(entry.row.id) / manifest_file, manifest_bytes);
    } catch (const std::system_error&) {  // NOLINT(bugprone-empty-catch): then it is another
    }
    if (text != entry.row.manifest)
        throw Error{Code::failed, fmt::format("image '{}' is damaged: its manifest is not what it was", name),
                    "delete the image, and build or import it again"};
    for (const char* file : {kernel_file, initramfs_file, disk_file}) verify_file(name, entry, file);
}

VmImage ImageStore::acquire(const std::string& instance, const std::string& name) {
    const EntryPtr entry = find(name);
    const std::string& id = entry->row.id;
    // First: who holds it keeps it from being removed while it is looked at.
    store_.transact([&](Transaction& transaction) {
        const auto held = transaction.image_of(instance);
        if (held == id) return;
        if (held) throw Error{Code::conflict, fmt::format("the instance has the image {} already", *held)};
        if (!known_.lock()->images.contains(id))
            throw Error{Code::not_found, fmt::format("image '{}' not found", name)};
        transaction.insert_image_use(instance, id);
    });
    verify(name.empty() ? id : name, *entry);
    VmImage image;
    image.id = id;
    const fs::path directory = path_of(id);
    image.disk = directory / disk_file;
    image.disk_bytes = file_stamp(image.disk).value_or(FileStamp{}).bytes;
    image.kernel = directory / kernel_file;
    if (file_stamp(directory / initramfs_file).value_or(FileStamp{}).bytes > 0)
        image.initramfs = directory / initramfs_file;
    image.command_line = entry->manifest.command_line;
    return image;
}

std::unique_ptr<minions::Images> ImageStore::for_call(const std::string& instance) {
    return std::make_unique<InstanceImages>(*this, instance);
}

void ImageStore::release(const JournalRow& row) {
    store_.transact([&](Transaction& transaction) { transaction.delete_image_use(row.instance); });
}

}  // namespace minions::core
