#pragma once

#include "plugins/docker/demux.hpp"
#include "plugins/docker/engine.hpp"

#include <minions/context.hpp>
#include <minions/runtime.hpp>

#include <sys/types.h>

#include <array>
#include <deque>
#include <optional>
#include <string>

namespace minions::docker {

/// One command in a container, from its start to its end: a single loop over the engine's connection and the
/// caller's descriptors, without polling. Used by one thread.
class Exec {
  public:
    Exec(Engine& engine, Context& context, std::string container, const ExecSpec& spec, ExecStreams streams);

    /// See ExecFacet::exec.
    ExecEnd run();

  private:
    struct Pending {
        int fd;
        std::string bytes;
    };

    void make();
    std::optional<Reply> start();
    bool turn();
    void take_output(std::string_view bytes);
    void deliver(Stream stream, std::string_view bytes);
    void queue(Stream stream, std::string_view bytes);
    void flush();
    void read_connection();
    void read_input();
    void write_input();
    void read_control();
    void apply_pending();
    void stop_input();

    std::optional<Value> record(const Patience& patience);
    bool over();
    void kill_command();
    bool readers_gone() const;
    ExecEnd ended();
    ExecEnd never_ran(const std::string& message, int exit_code);

    Engine& engine_;
    Context& context_;
    std::string container_;
    const ExecSpec& spec_;
    ExecStreams streams_;

    std::string id_;
    Fd connection_;
    Demultiplexer demux_;
    std::deque<Pending> output_;
    std::string input_;
    bool input_open_ = false;
    bool ended_ = false;
    bool killed_ = false;
    std::optional<pid_t> pid_;
    Value outcome_;          ///< the engine's record, asked for once the stream is over
    milliseconds pause_{1};  ///< until it is asked for again

    /// A first message that may be the engine's own about a command that could not be started.
    struct Held {
        Stream stream;
        std::string bytes;
    };
    std::optional<Held> held_;
    bool may_hold_ = true;

    /// Asked for before the command had a pid.
    std::deque<int> signals_;
    std::optional<std::pair<int, int>> size_;
    int attempts_ = 0;
    int sent_signal_ = 0;
};

}  // namespace minions::docker
