// What an agent offers (tentacle-protocol.md 2). Assembly: Octopus.Tentacle.Contracts.
using System;
using System.Collections.Generic;
using Halibut;
using Newtonsoft.Json;

namespace Octopus.Tentacle.Contracts
{
    public enum ProcessState { Pending, Running, Complete }
    public enum ProcessOutputSource { StdOut, StdErr, Debug }
    public enum ScriptIsolationLevel { NoIsolation, FullIsolation }
    public enum ScriptType { PowerShell, Bash }

    public static class ExitCodes
    {
        public const int CannotStart = -42, Canceled = -43, Timeout = -44, UnknownScript = -45;
    }

    public class ScriptTicket
    {
        public ScriptTicket(string taskId) { TaskId = taskId; }
        public string TaskId { get; private set; }
    }

    public class ProcessOutput
    {
        public ProcessOutput(ProcessOutputSource source, string text, DateTimeOffset occurred)
        {
            Source = source;
            Text = text;
            Occurred = occurred;
        }

        public ProcessOutputSource Source { get; private set; }
        public DateTimeOffset Occurred { get; private set; }
        public string Text { get; private set; }
    }

    public class ScriptFile
    {
        public ScriptFile(string name, DataStream contents, string encryptionPassword)
        {
            Name = name;
            Contents = contents;
            EncryptionPassword = encryptionPassword;
        }

        public string Name { get; private set; }
        public DataStream Contents { get; private set; }
        public string EncryptionPassword { get; private set; }
    }
}

namespace Octopus.Tentacle.Contracts.Capabilities
{
    public class CapabilitiesResponseV2
    {
        public CapabilitiesResponseV2(List<string> supportedCapabilities) { SupportedCapabilities = supportedCapabilities; }
        public List<string> SupportedCapabilities { get; private set; }
    }
}

namespace Octopus.Tentacle.Contracts.ScriptServiceV2
{
    public class StartScriptCommandV2
    {
        [JsonConstructor]
        public StartScriptCommandV2(ScriptTicket scriptTicket, string scriptBody, string taskId, TimeSpan? durationToWaitForScriptToFinish,
            ScriptIsolationLevel isolation, TimeSpan scriptIsolationMutexTimeout, string isolationMutexName, string[] arguments)
        {
            ScriptTicket = scriptTicket;
            ScriptBody = scriptBody;
            TaskId = taskId;
            DurationToWaitForScriptToFinish = durationToWaitForScriptToFinish;
            Isolation = isolation;
            ScriptIsolationMutexTimeout = scriptIsolationMutexTimeout;
            IsolationMutexName = isolationMutexName;
            Arguments = arguments;
            Scripts = new Dictionary<ScriptType, string>();
            Files = new List<ScriptFile>();
        }

        public ScriptTicket ScriptTicket { get; private set; }
        public string ScriptBody { get; private set; }
        public string TaskId { get; private set; }
        public TimeSpan? DurationToWaitForScriptToFinish { get; private set; }
        public ScriptIsolationLevel Isolation { get; private set; }
        public TimeSpan ScriptIsolationMutexTimeout { get; private set; }
        public string IsolationMutexName { get; private set; }
        public Dictionary<ScriptType, string> Scripts { get; private set; } // filled in place: null on the wire would be refused
        public List<ScriptFile> Files { get; private set; }
        public string[] Arguments { get; private set; }
    }

    public class ScriptStatusRequestV2
    {
        public ScriptStatusRequestV2(ScriptTicket ticket, long lastLogSequence)
        {
            Ticket = ticket;
            LastLogSequence = lastLogSequence;
        }

        public ScriptTicket Ticket { get; private set; }
        public long LastLogSequence { get; private set; }
    }

    public class CancelScriptCommandV2
    {
        public CancelScriptCommandV2(ScriptTicket ticket, long lastLogSequence)
        {
            Ticket = ticket;
            LastLogSequence = lastLogSequence;
        }

        public ScriptTicket Ticket { get; private set; }
        public long LastLogSequence { get; private set; }
    }

    public class CompleteScriptCommandV2
    {
        public CompleteScriptCommandV2(ScriptTicket ticket) { Ticket = ticket; }
        public ScriptTicket Ticket { get; private set; }
    }

    public class ScriptStatusResponseV2
    {
        public ScriptTicket Ticket { get; set; }
        public List<ProcessOutput> Logs { get; set; }
        public long NextLogSequence { get; set; }
        public ProcessState State { get; set; }
        public int ExitCode { get; set; }
    }
}
