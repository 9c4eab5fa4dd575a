# Asks over MQTT 5 with mosquitto_rr and prints the reply; Windows PowerShell 5.1 and PowerShell 7.
#
#   .\start_mqtt.ps1 -RequestId erp-4711 -Tag daily-reports -BrokerHost broker.example.com
#
# Run it again with the same id whenever in doubt: the tasks are started once.
# This file is ASCII: PowerShell 5.1 reads a file without byte order mark in the code page of Windows.
#Requires -Version 5.1
param(
    [Parameter(Mandatory = $true)] [string] $RequestId,
    [Parameter(Mandatory = $true)] [string[]] $Tag,
    [string] $BrokerHost = 'localhost',
    [int] $Seconds = 120
)
$ErrorActionPreference = 'Stop'

# @() keeps an array of one an array; -Depth is 2 if nobody says otherwise, and deeper values become text.
$json = @{ requestId = $RequestId; tag = @($Tag) } | ConvertTo-Json -Compress -Depth 16
# An argument reaches mosquitto_rr in the code page of Windows: all that is not ASCII becomes \uXXXX.
$json = [regex]::Replace($json, '[^\x00-\x7f]', { param($letter) '\u{0:x4}' -f [int] [char] $letter.Value })
# Before 7.3 the double quotes in an argument are lost unless they have backslashes.
if ($PSVersionTable.PSVersion -lt '7.3') { $json = $json -replace '(\\*)"', '$1$1\"' }

# The reply is UTF-8, and is read as the console is set.
[Console]::OutputEncoding = [Text.Encoding]::UTF8
# It subscribes to -e, publishes with -e as Response Topic, and waits for one message. Not with -f or -s:
# mosquitto_rr 2.0.11 publishes an empty message then.
mosquitto_rr -V 5 -q 1 -h $BrokerHost -t qliksense/task/start -e "qliksense/reply/$(New-Guid)" `
    -m $json -W $Seconds
exit $LASTEXITCODE
