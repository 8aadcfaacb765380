#pragma once

#include "plugins/docker/config.hpp"
#include "plugins/docker/engine.hpp"
#include "plugins/docker/leftovers.hpp"
#include "plugins/docker/registry.hpp"
#include "plugins/docker/watcher.hpp"

#include <minions/runtime.hpp>

#include <string>

namespace minions::docker {

/// Containers of a Docker Engine, or of Podman's compatible socket, as instances. Objects are ours by the
/// labels of labels.hpp, never by name. Journal kinds: "container" (key: instance id), "image" (key: tag),
/// and while a build runs "image-layer" and "build-container" (key: the engine's short id). State version 1:
/// {"container": id}, and of a copy "image", the name of its own image. A copy that is being made may have a
/// row "copy-pause" (key: the source's container).
class DockerRuntime : public Runtime,
                      public ExecFacet,
                      public LogsFacet,
                      public FilesFacet,
                      public ForwardFacet,
                      public BuildFacet,
                      public CopyFacet,
                      public PauseFacet,
                      public ResizeFacet,
                      public StatsFacet {
  public:
    using Config = docker::Config;
    static constexpr const char* features[] = {"ports"};

    DockerRuntime(Host& host, const Config& config);

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
    BuildResult build(Context& ctx, const BuildSpec& spec, Fd context, Fd log) override;
    void remove_image(Context& ctx, const std::string& image) override;
    RuntimeState copy(Context& ctx, const Instance& instance, const Instance& source) override;
    InstanceFacts pause(Context& ctx, const Instance& instance) override;
    InstanceFacts resume(Context& ctx, const Instance& instance) override;
    InstanceFacts resize(Context& ctx, const Instance& instance, const ResizeSpec& spec) override;
    Stats stats(Context& ctx, const Instance& instance) override;

  private:
    /// The container's id, from the saved state or by its labels. Throws not_found.
    std::string container_of(const Patience& patience, const Instance& instance);
    Value inspected(const Patience& patience, const std::string& container);
    /// Inspects what a call has just changed.
    InstanceFacts changed(Context& ctx, const Instance& instance, const std::string& container);
    InstanceFacts change_pause(Context& ctx, const Instance& instance, const char* verb, Status wanted);
    void kill_container(const Patience& patience, const std::string& container);

    Host& host_;
    Config config_;
    Engine engine_;
    Registry registry_;
    Leftovers leftovers_;
    Watcher watcher_;
};

}  // namespace minions::docker
