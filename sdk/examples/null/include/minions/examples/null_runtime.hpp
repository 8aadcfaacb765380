#pragma once

#include <minions/base/sync.hpp>
#include <minions/runtime.hpp>

#include <atomic>
#include <condition_variable>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace minions::examples {

struct NullInstance;
class NullTimers;

/// A runtime whose instances exist only in memory, with every facet: the SDK's example, and what core is
/// tested with.
///
/// Images: any name exists, except those that start with "missing/". An instance's command decides its life:
/// none runs until it is stopped; {"exit", "3"} ends at once with that code; {"echo", …} logs its arguments
/// and ends; {"sleep", "0.5"} ends after that time; anything else runs until stopped.
///
/// Commands of exec: echo, echo-error, cat, true, false, sleep SECONDS, exit N, env, size (prints the
/// terminal's rows and columns, again after each change, until a signal), yes (endless output), die [N] (ends
/// the instance itself, which is reported as an event); any other ends with 127.
///
/// Faults are asked for by labels of the instance (of the image, for build), and for all by configuration:
///     null.fail = create,start           these methods throw Error{failed} …
///     null.fail_code = unavailable       … or this code
///     null.delay_ms.start = 200          this method takes so long first; honours cancellation and deadline
///     null.hang_ms.start = 200           the same, but deaf to both: a broken runtime
///     null.exit_after_ms = 50            the instance ends by itself so long after its start …
///     null.exit_code = 3                 … with this code
///     null.listen = 80,8080              forward() finds listeners only there
class NullRuntime final : public Runtime,
                          public ExecFacet,
                          public LogsFacet,
                          public FilesFacet,
                          public ForwardFacet,
                          public PauseFacet,
                          public ResizeFacet,
                          public StatsFacet,
                          public SnapshotFacet,
                          public CopyFacet,
                          public BuildFacet {
  public:
    static constexpr const char* features[] = {"ports", "disk"};

    struct Config {
        bool healthy = true;
        std::string reason = "the null runtime was configured as unhealthy";
        bool persistent = false;
        std::vector<std::string> fail;
        std::int64_t delay_ms = 0;
        std::vector<std::string> missing;

        template <class Self, class Visit>
        static void fields(Self& self, Visit&& visit) {
            visit("healthy", self.healthy, Field{.doc = "what health says"});
            visit("reason", self.reason, Field{.doc = "why it is not healthy"});
            visit("persistent", self.persistent,
                  Field{.doc = "keep instances in files, so that they outlive the daemon"});
            visit("fail", self.fail, Field{.doc = "methods that always fail (\"open\" is the constructor)"});
            visit("delay_ms", self.delay_ms,
                  Field{.min = 0, .max = 600000, .doc = "milliseconds that every method takes first"});
            visit("missing", self.missing, Field{.doc = "facets that health reports as missing here"});
        }
    };

    /// `host` outlives the object.
    NullRuntime(Host& host, Config config);
    explicit NullRuntime(Host& host) : NullRuntime(host, Config{}) {}
    ~NullRuntime() override;

    Health health(Context& ctx) override;
    RuntimeState create(Context& ctx, const Instance& instance) override;
    InstanceFacts start(Context& ctx, const Instance& instance) override;
    InstanceFacts stop(Context& ctx, const Instance& instance, milliseconds grace) override;
    void kill(Context& ctx, const Instance& instance) override;
    void destroy(Context& ctx, const Instance& instance) override;
    InstanceFacts inspect(Context& ctx, const Instance& instance) override;
    void release(Context& ctx, const JournalRow& row) override;
    std::optional<InstanceFacts> recover(Context& ctx, const Instance& instance) override;
    void recovered(Context& ctx) override;

    ExecEnd exec(Context& ctx, const Instance& instance, const ExecSpec& spec, ExecStreams streams) override;
    void logs(Context& ctx, const Instance& instance, const LogsSpec& spec, Fd out) override;
    void read_files(Context& ctx, const Instance& instance, const std::string& path, Fd out) override;
    void write_files(Context& ctx, const Instance& instance, const std::string& path, Fd in) override;
    Fd forward(Context& ctx, const Instance& instance, int port) override;
    InstanceFacts pause(Context& ctx, const Instance& instance) override;
    InstanceFacts resume(Context& ctx, const Instance& instance) override;
    InstanceFacts resize(Context& ctx, const Instance& instance, const ResizeSpec& spec) override;
    Stats stats(Context& ctx, const Instance& instance) override;
    SnapshotInfo create_snapshot(Context& ctx, const Instance& instance, const SnapshotSpec& spec) override;
    std::vector<SnapshotInfo> list_snapshots(Context& ctx, const Instance& instance) override;
    InstanceFacts restore_snapshot(Context& ctx, const Instance& instance, const std::string& name) override;
    void delete_snapshot(Context& ctx, const Instance& instance, const std::string& name) override;
    RuntimeState copy(Context& ctx, const Instance& instance, const Instance& source) override;
    BuildResult build(Context& ctx, const BuildSpec& spec, Fd context, Fd log) override;
    void remove_image(Context& ctx, const std::string& image) override;

    /// For tests that link this class: what exists right now.
    std::size_t instance_count() const;
    std::size_t image_count() const;
    /// Ends a running instance as if its process had exited, and reports it. [any thread]
    void end_instance(const std::string& id, int exit_code);

  private:
    using Shared = std::shared_ptr<NullInstance>;

    /// Delays and fails as labels and configuration ask for.
    void misbehave(Context& ctx, std::string_view method,
                   const std::map<std::string, std::string>& labels) const;
    /// Makes it exist.
    RuntimeState add(Context& ctx, const Instance& instance, const Shared& made);
    /// Throws not_found.
    Shared find(const std::string& id) const;
    /// Throws wrong_state.
    Shared find_running(const std::string& id) const;
    void end_life(const Shared& instance, std::uint64_t boot, int exit_code, bool report);

    void save(const NullInstance& instance) const;
    void forget(const std::string& id) const;
    Shared load(const std::string& id) const;
    std::string file_of(const std::string& id) const;

    Host& host_;
    const Config config_;
    Sync<std::map<std::string, Shared>> instances_;
    Sync<std::map<std::string, std::string>> images_;  // tag → id
    struct Echo;
    Sync<std::list<std::shared_ptr<Echo>>> echoes_;
    std::shared_ptr<NullTimers> timers_;
};

}  // namespace minions::examples
