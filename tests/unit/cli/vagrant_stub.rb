# frozen_string_literal: true

# Stands for Vagrant: runs a Vagrantfile and prints, as JSON, the machines that it describes for one provider.
#
#   ruby vagrant_stub.rb VAGRANTFILE PROVIDER [vagrant's own arguments…]

require "json"

# Remembers every setting and call; `define`, `provider` and `network` as Vagrant means them.
class Recorder
  attr_reader :seen, :machines

  def initialize(provider)
    @provider = provider
    @seen = {}
    @machines = {}
    @provisioners = []
    @networks = []
  end

  def vm = self

  def define(name)
    machine = Recorder.new(@provider)
    yield machine
    @machines[name] = machine
  end

  def provider(name)
    return unless name.to_s == @provider

    settings = Recorder.new(@provider)
    yield settings, self
    @seen["provider"] = settings.seen
  end

  def network(kind, **options) = @seen["network"] = { kind: kind, **options }

  def synced_folder(from, to, **options) = @seen["synced_folder"] = { from: from, to: to, **options }

  def provision(name, **options) = @seen["provision"] = { name: name, **options }

  def method_missing(name, value) = @seen[name.to_s.delete_suffix("=")] = value

  def respond_to_missing?(name, _private = false) = name.to_s.end_with?("=")
end

# The one entry that a Vagrantfile has.
module Vagrant
  def self.configure(version)
    abort "version #{version}" unless version == "2"
    config = Recorder.new($provider)
    yield config
    puts JSON.generate(all: config.seen, machines: config.machines.transform_values(&:seen))
  end
end

vagrantfile = ARGV.shift
$provider = ARGV.shift
load vagrantfile
