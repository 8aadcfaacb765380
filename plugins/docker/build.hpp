#pragma once

#include "plugins/docker/removal.hpp"

#include <minions/context.hpp>

#include <string>
#include <vector>

namespace minions::docker {

/// One image build over the engine's classic builder, and the removal of what it left when it did not
/// succeed. Used by one thread.
class Build {
  public:
    Build(Engine& engine, Context& context, const std::string& installation, const BuildSpec& spec);

    /// See BuildFacet::build.
    BuildResult run(Fd source, Fd log);

    /// What a failed run() could not remove.
    const std::vector<Leftover>& left_over() const noexcept { return leftovers_; }

  private:
    std::string path();
    std::string receive(Incoming& incoming, int log, bool& log_open);
    void give_name();
    void note(const char* kind, std::string_view id);
    void check_size(const std::string& image);
    void keep_layers() noexcept;
    void clean_up() noexcept;

    Engine& engine_;
    Context& context_;
    const std::string installation_;
    const BuildSpec& spec_;
    std::vector<Leftover> leftovers_;  ///< in the order in which they were made
    std::string image_;                ///< once it is built
};

}  // namespace minions::docker
