#pragma once

#include "core/images/disk_import.hpp"
#include "core/images/image_build.hpp"
#include "core/images/image_files.hpp"
#include "core/images/manifest.hpp"
#include "core/operations/operations.hpp"
#include "core/store/store.hpp"

#include <minions/base/sync.hpp>
#include <minions/context.hpp>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace minions::core {

struct ImageStoreOptions {
    std::filesystem::path directory;  ///< absolute; one directory below it for each image
    std::filesystem::path recipes;    ///< absolute
    std::filesystem::path agent;      ///< the static program minions-agent
    std::uint64_t max_bytes = std::uint64_t{64} << 30U;
    milliseconds build_timeout = std::chrono::minutes(30);
    /// Whose members may read the files; nothing: only who the daemon is.
    std::optional<gid_t> group;
    std::function<std::string()> default_name;  ///< images.default now
    /// The name of an instance by its id; its id if it is gone.
    std::function<std::string(const std::string&)> instance_name;
};

/// A disk of somebody's on its way to become an image. Removed with the object, unless an import took it.
class ImageUpload {
  public:
    ImageUpload(std::unique_ptr<Draft> draft, std::uint64_t max_bytes);
    /// Throws too_large, no_space.
    void write(std::string_view data) { writer_.write(data); }

  private:
    friend class ImageStore;
    std::unique_ptr<Draft> draft_;
    Fd file_;
    SparseWriter writer_;
};

struct ImportSpec {
    std::string format;       ///< "raw", "qcow2", "tar", "tar.gz", "tar.zst"; empty: by its first bytes
    std::string kernel_from;  ///< the image whose kernel and initramfs it gets; empty: the default
    /// For the kernel; empty: that image's, but an archive's init is the agent.
    std::string command_line;
};

/// The VM images of this daemon: `<directory>/<sha256>/` each with disk.raw, kernel, initramfs and
/// manifest.json; names for them and who uses them are in the database. Files of an image never change. All
/// methods: [any thread].
///
/// Changes return their operation, whose result is the image's document (of a removal {"message": …}). They
/// throw at once: invalid, not_found, conflict, busy, unavailable, idempotency_mismatch.
class ImageStore {
  public:
    /// Makes the directory, and loads what is known. Throws Error.
    ImageStore(Store& store, Operations& operations, ImageStoreOptions options);
    ~ImageStore();
    ImageStore(const ImageStore&) = delete;
    ImageStore& operator=(const ImageStore&) = delete;

    /// Removes what a former daemon left half made or half removed. Before anything else; returns a sentence
    /// for each that resists.
    std::vector<std::string> recover();

    /// {"name","id","size_bytes","created_at","recipe","used_by"} of each name, in order.
    Value list() const;
    /// The same of one image, with its manifest. Throws not_found.
    Value get(const std::string& name) const;
    /// Whether there is an image of that name or id; '' asks for the default one. Throws invalid that names
    /// the field 'image'. Returns the name that counts.
    std::string check(const std::string& name) const;

    OperationPtr build(const std::string& name, ImageBuildSpec spec,
                       std::optional<Idempotency> idempotency = {});
    /// Throws what a build or import of that name would at once because of the name.
    void check_new(const std::string& name) const;
    std::unique_ptr<ImageUpload> upload();
    OperationPtr import(const std::string& name, std::unique_ptr<ImageUpload> upload, ImportSpec spec,
                        std::optional<Idempotency> idempotency = {});
    /// Takes the name away, and the image with its last name. Throws conflict while instances use it.
    OperationPtr remove(const std::string& name, std::optional<Idempotency> idempotency = {});

    /// What a call into a runtime about that instance gets.
    std::unique_ptr<minions::Images> for_call(const std::string& instance);
    /// Undoes what for_call() made. Nothing to undo is success.
    void release(const JournalRow& row);

  private:
    friend class InstanceImages;
    struct Entry {
        ImageRow row;
        ImageManifest manifest;
    };
    using EntryPtr = std::shared_ptr<const Entry>;
    struct Known {
        std::map<std::string, EntryPtr> images;   ///< by id
        std::map<std::string, ImageTagRow> tags;  ///< by name
        /// Files that are as their hashes say, as long as they have these stamps: by path.
        std::map<std::string, FileStamp> verified;
    };

    std::filesystem::path path_of(const std::string& id) const;
    /// Throws not_found.
    EntryPtr find(const std::string& name) const;
    Value describe(const std::string& name, const Entry& entry) const;
    VmImage acquire(const std::string& instance, const std::string& name);
    void verify(const std::string& name, const Entry& entry);
    void verify_file(const std::string& name, const Entry& entry, const std::string& file);
    void remember_disk(const std::string& id, const FileStamp& stamp);

    OperationRequest request(const char* kind, const std::string& name,
                             std::optional<Idempotency> idempotency);
    /// Makes the draft the image of that name, and the operation succeeded.
    Value keep(OperationContext& context, Draft& draft, const std::string& name);
    Value run_import(OperationContext& context, ImageUpload& upload, const std::string& name,
                     const ImportSpec& spec, const EntryPtr& kernel_from);
    Value run_remove(OperationContext& context, const std::string& name);

    Store& store_;
    Operations& operations_;
    const ImageStoreOptions options_;
    mutable Sync<Known> known_;
    std::mutex directories_;  ///< held while an image's directory appears or goes
    std::mutex verifying_;    ///< held while hashes are computed at use, so that it is done once
};

}  // namespace minions::core
