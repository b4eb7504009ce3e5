// The services, running real bash (tentacle-protocol.md 2.2, 2.3, 2.6, 2.8).
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Security.Cryptography;
using System.Threading;
using Halibut;
using Halibut.Transport.Protocol;
using Octopus.Tentacle.Contracts;
using Octopus.Tentacle.Contracts.Capabilities;
using Octopus.Tentacle.Contracts.ScriptServiceV2;

namespace OctavoPeer
{
    class CapabilitiesService
    {
        public CapabilitiesResponseV2 GetCapabilities()
        {
            return new CapabilitiesResponseV2(new List<string> { "IScriptService", "IFileTransferService", "IScriptServiceV2" });
        }
    }

    class FileTransferService
    {
        readonly string home;
        public FileTransferService(string home) { this.home = home; }

        string Resolve(string path) { return Path.GetFullPath(Path.Combine(home, path.Replace('\\', '/'))); }

        public Octopus.Shared.Contracts.UploadResult UploadFile(string remotePath, DataStream upload)
        {
            var path = Resolve(remotePath);
            Directory.CreateDirectory(Path.GetDirectoryName(path));
            File.Copy(upload.Path, path, true);
            using (var sha1 = SHA1.Create())
            using (var file = File.OpenRead(path))
                return new Octopus.Shared.Contracts.UploadResult
                {
                    FullPath = path,
                    Hash = BitConverter.ToString(sha1.ComputeHash(file)).Replace("-", "").ToLowerInvariant(),
                    Length = file.Length
                };
        }

        public DataStream DownloadFile(string remotePath)
        {
            var path = Resolve(remotePath);
            return File.Exists(path) ? DataStream.FromFile(path) : null;
        }
    }

    class ScriptService
    {
        readonly string home;
        readonly Dictionary<string, Script> scripts = new Dictionary<string, Script>(StringComparer.OrdinalIgnoreCase);
        public ScriptService(string home) { this.home = home; }

        Script Find(ScriptTicket ticket)
        {
            Script script;
            lock (scripts) return scripts.TryGetValue(ticket.TaskId, out script) ? script : null;
        }

        public ScriptStatusResponseV2 StartScript(StartScriptCommandV2 command)
        {
            var ticket = command.ScriptTicket;
            Script script;
            lock (scripts)
            {
                if (!scripts.TryGetValue(ticket.TaskId, out script))
                {
                    script = new Script(ticket, home, command);
                    scripts.Add(ticket.TaskId, script);
                    script.Start();
                }
            }
            if (command.DurationToWaitForScriptToFinish != null) script.Ended.Wait(command.DurationToWaitForScriptToFinish.Value);
            return script.Status(0);
        }

        public ScriptStatusResponseV2 GetStatus(ScriptStatusRequestV2 request)
        {
            var script = Find(request.Ticket);
            return script == null ? Unknown(request.Ticket, request.LastLogSequence) : script.Status(request.LastLogSequence);
        }

        public ScriptStatusResponseV2 CancelScript(CancelScriptCommandV2 command)
        {
            var script = Find(command.Ticket);
            if (script == null) return Unknown(command.Ticket, command.LastLogSequence);
            script.Cancel();
            return script.Status(command.LastLogSequence);
        }

        public void CompleteScript(CompleteScriptCommandV2 command)
        {
            var script = Find(command.Ticket);
            if (script == null) return;
            lock (scripts) scripts.Remove(command.Ticket.TaskId);
            script.Cancel();
            script.Ended.Wait();
            Directory.Delete(script.Workspace, true);
        }

        static ScriptStatusResponseV2 Unknown(ScriptTicket ticket, long sequence)
        {
            return new ScriptStatusResponseV2
            {
                Ticket = ticket, Logs = new List<ProcessOutput>(), NextLogSequence = sequence,
                State = ProcessState.Complete, ExitCode = ExitCodes.UnknownScript
            };
        }
    }

    // Readers and one writer for each mutex name.
    static class Isolation
    {
        class Lock { public int Readers; public bool Writer; }
        static readonly Dictionary<string, Lock> locks = new Dictionary<string, Lock>();

        public static bool Enter(string name, bool alone, TimeSpan timeout, Func<bool> givenUp)
        {
            var unlimited = timeout == TimeSpan.Zero || timeout.TotalMilliseconds >= int.MaxValue;
            var waited = Stopwatch.StartNew();
            lock (locks)
            {
                Lock l;
                if (!locks.TryGetValue(name, out l)) locks[name] = l = new Lock();
                while (l.Writer || alone && l.Readers > 0)
                {
                    if (givenUp() || !unlimited && waited.Elapsed > timeout) return false;
                    Monitor.Wait(locks, 100);
                }
                if (alone) l.Writer = true;
                else l.Readers++;
                return true;
            }
        }

        public static void Leave(string name, bool alone)
        {
            lock (locks)
            {
                if (alone) locks[name].Writer = false;
                else locks[name].Readers--;
                Monitor.PulseAll(locks);
            }
        }
    }

    class Script
    {
        readonly ScriptTicket ticket;
        readonly StartScriptCommandV2 command;
        readonly string home;
        readonly List<ProcessOutput> logs = new List<ProcessOutput>();
        ProcessState state = ProcessState.Pending;
        int exitCode, pid;
        bool canceled;
        public readonly ManualResetEventSlim Ended = new ManualResetEventSlim();
        public string Workspace { get; private set; }

        public Script(ScriptTicket ticket, string home, StartScriptCommandV2 command)
        {
            this.ticket = ticket;
            this.home = home;
            this.command = command;
            Workspace = Path.Combine(home, "Work", ticket.TaskId);
        }

        public void Start()
        {
            Directory.CreateDirectory(Workspace);
            string body;
            if (!command.Scripts.TryGetValue(ScriptType.Bash, out body)) body = command.ScriptBody;
            File.WriteAllText(Path.Combine(Workspace, "Bootstrap.sh"), body.Replace("\r\n", "\n"));
            foreach (var file in command.Files)
            {
                var path = Path.Combine(Workspace, file.Name);
                Directory.CreateDirectory(Path.GetDirectoryName(path));
                File.Copy(file.Contents.Path, path, true); // the received copy goes when the call ends
            }
            new Thread(Run) { IsBackground = true }.Start();
        }

        void Run()
        {
            var name = command.IsolationMutexName ?? "RunningScript";
            var alone = command.Isolation == ScriptIsolationLevel.FullIsolation;
            if (!Isolation.Enter(name, alone, command.ScriptIsolationMutexTimeout, () => canceled))
            {
                End(canceled ? ExitCodes.Canceled : ExitCodes.Timeout);
                return;
            }
            var code = ExitCodes.CannotStart;
            try
            {
                code = RunBash();
            }
            catch (Exception e)
            {
                Log(ProcessOutputSource.StdErr, e.Message);
            }
            finally
            {
                Isolation.Leave(name, alone);
                End(code);
            }
        }

        int RunBash()
        {
            // A session of its own, so that Cancel reaches every child.
            var info = new ProcessStartInfo("setsid", "/bin/bash \"" + Path.Combine(Workspace, "Bootstrap.sh") + "\" " + string.Join(" ", command.Arguments ?? new string[0]))
            {
                WorkingDirectory = Workspace, UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true,
                RedirectStandardInput = true
            };
            info.EnvironmentVariables["TentacleHome"] = home;
            info.EnvironmentVariables["TentacleApplications"] = Path.Combine(home, "Applications");
            info.EnvironmentVariables["TentacleJournal"] = Path.Combine(home, "DeploymentJournal.xml");
            info.EnvironmentVariables["TentacleInstanceName"] = "Peer";
            info.EnvironmentVariables["TentacleVersion"] = "6.3.0";
            using (var process = new Process { StartInfo = info })
            {
                var output = new CountdownEvent(2);
                process.OutputDataReceived += (_, e) => Line(ProcessOutputSource.StdOut, e.Data, output);
                process.ErrorDataReceived += (_, e) => Line(ProcessOutputSource.StdErr, e.Data, output);
                lock (logs)
                {
                    if (canceled) return ExitCodes.Canceled;
                    process.Start();
                    pid = process.Id;
                    state = ProcessState.Running;
                }
                process.StandardInput.Close();
                process.BeginOutputReadLine();
                process.BeginErrorReadLine();
                process.WaitForExit();
                output.Wait(TimeSpan.FromSeconds(5)); // a child in the background may hold the pipes
                lock (logs)
                {
                    pid = 0;
                    return canceled ? ExitCodes.Canceled : process.ExitCode;
                }
            }
        }

        void Line(ProcessOutputSource source, string text, CountdownEvent output)
        {
            if (text == null) output.Signal();
            else Log(source, text);
        }

        void Log(ProcessOutputSource source, string text)
        {
            lock (logs) logs.Add(new ProcessOutput(source, text, DateTimeOffset.UtcNow));
        }

        void End(int code)
        {
            lock (logs)
            {
                state = ProcessState.Complete;
                exitCode = code;
            }
            Ended.Set();
        }

        public void Cancel()
        {
            lock (logs)
            {
                if (state == ProcessState.Complete) return;
                canceled = true;
                if (pid != 0) Process.Start(new ProcessStartInfo("/bin/kill", "-KILL -- -" + pid) { UseShellExecute = false }).WaitForExit();
            }
        }

        public ScriptStatusResponseV2 Status(long after)
        {
            lock (logs)
                return new ScriptStatusResponseV2
                {
                    Ticket = ticket, Logs = logs.Skip((int)after).ToList(), NextLogSequence = logs.Count, State = state, ExitCode = exitCode
                };
        }
    }

    // Finds a method by the service's name, its own name and the runtime types of the parameters.
    class Dispatcher
    {
        readonly Dictionary<string, object> services;

        public Dispatcher(string home, bool old)
        {
            services = new Dictionary<string, object>
            {
                { "IFileTransferService", new FileTransferService(home) },
                { "IScriptService", new OldScriptService(home) }
            };
            if (old) return;
            services.Add("ICapabilitiesServiceV2", new CapabilitiesService());
            services.Add("IScriptServiceV2", new ScriptService(home));
        }

        public ResponseMessage Answer(RequestMessage request)
        {
            var response = new ResponseMessage { Id = request.Id };
            try
            {
                response.Result = Invoke(request);
            }
            catch (Exception e)
            {
                var inner = e;
                while (inner.InnerException != null) inner = inner.InnerException;
                response.Error = new ServerError { Message = inner.Message, Details = e.ToString() };
            }
            return response;
        }

        object Invoke(RequestMessage request)
        {
            object service;
            if (!services.TryGetValue(request.ServiceName, out service)) throw new Exception("Service not found: " + request.ServiceName);
            var named = service.GetType().GetMethods(BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly)
                .Where(m => string.Equals(m.Name, request.MethodName, StringComparison.OrdinalIgnoreCase)).ToArray();
            if (named.Length == 0) throw new Exception("Service " + service.GetType().FullName + "::" + request.MethodName + " not found");
            var args = request.Params ?? new object[0];
            var fitting = named.Where(m => Fits(m.GetParameters(), args)).ToArray();
            if (fitting.Length != 1)
                throw new AmbiguousMatchException("More than one or no method " + request.MethodName + " fits the parameters (" +
                    string.Join(", ", args.Select(a => a == null ? "null" : a.GetType().FullName)) + ")");
            return fitting[0].Invoke(service, args);
        }

        static bool Fits(ParameterInfo[] parameters, object[] args)
        {
            return parameters.Length == args.Length &&
                parameters.Zip(args, (p, a) => a == null ? !p.ParameterType.IsValueType : p.ParameterType.IsInstanceOfType(a)).All(ok => ok);
        }
    }
}
