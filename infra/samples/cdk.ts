// An application by the CDK. What protects its table is marked.
import { App, RemovalPolicy, Stack, Tags } from 'aws-cdk-lib';
import { AttributeType, BillingMode, StreamViewType, Table } from 'aws-cdk-lib/aws-dynamodb';

const stack = new Stack(new App(), 'QuarantineNotes', { terminationProtection: true });

const notes = new Table(stack, 'NotesTable', {
  partitionKey: { name: 'noteId', type: AttributeType.STRING },
  billingMode: BillingMode.PAY_PER_REQUEST,
  removalPolicy: RemovalPolicy.RETAIN, // protects: DeletionPolicy and UpdateReplacePolicy
  deletionProtection: true, // protects
  stream: StreamViewType.NEW_AND_OLD_IMAGES, // protects
});
Tags.of(notes).add('journal', 'on'); // what guard looks for, with GuardTables tag:journal=on
