#pragma once

#include "core/plugins/description.hpp"
#include "core/plugins/host_calls.hpp"

#include <minions/seam.hpp>

#include <functional>
#include <memory>

namespace minions::core {

struct ClientTimes {
    milliseconds deadline_grace{2000};  ///< how long after its deadline a call may still return
    milliseconds cancel_grace{10000};   ///< how long after a cancellation
};

/// A runtime behind a transport, with the SDK's own interfaces.
///
/// A call waits on the caller's thread for the reply, the caller's cancel descriptor and the deadline; no
/// thread is held for watching. Cancellation and a passed deadline are sent to the plugin as a cancel
/// message. A plugin that does not return within the grace is reported to the sink as an error, and the call
/// throws (cancelled or deadline): the caller gets its thread and its locks back in any case. What the plugin
/// still says on behalf of such a call is refused. Thread-safe.
///
/// Every method throws what the runtime threw; internal for a reply that makes no sense; unavailable when the
/// plugin is gone.
class RuntimeClient final : public Runtime,
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
    using Connect = std::function<std::unique_ptr<Transport>(HostHandler)>;

    /// `sink` outlives the client. `connect` makes the transport; what it throws is passed on.
    RuntimeClient(const PluginDescription& description, PluginSink& sink, const Connect& connect,
                  ClientTimes times = {});
    ~RuntimeClient() override;

    /// Makes the plugin's runtime object. Once, before every other call. Throws the error of its constructor;
    /// deadline when that does not return in time.
    void open(const seam::Open& parameters, SteadyTime deadline);

    /// Facets that the descriptor does not declare are null.
    const RuntimeHandle& handle() const { return host_->handle; }

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

  private:
    struct Result {
        Value value;
        std::vector<Fd> fds;
    };

    Result invoke(Context& ctx, const char* method, const seam::InstanceCall& parameters,
                  std::vector<Fd> fds = {});
    template <class T>
    T invoke_as(Context& ctx, const char* method, const seam::InstanceCall& parameters,
                std::vector<Fd> fds = {});
    /// Waits for the reply; tells the plugin to cancel when the time for it has come. Throws when it gives
    /// up.
    Message await(Context& ctx, const char* method, std::uint64_t id,
                  const std::shared_ptr<PluginCall>& call);
    void send_cancel(std::uint64_t id, const std::shared_ptr<PluginCall>& call);
    void report_hang(const char* method);
    Result read_reply(Message reply) const;

    const std::shared_ptr<HostCalls> host_;
    const ClientTimes times_;
    std::unique_ptr<Transport> transport_;
};

}  // namespace minions::core
